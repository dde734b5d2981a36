"""The real server in processes that start fast: they are forked from one that has the imports behind it."""

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_starter = multiprocessing.get_context("forkserver")
_starter.set_forkserver_preload(["poselift_service.server"])


def start(log: Path, settings: dict[str, Any]) -> ForkServerProcess:
    """Start a server; what it says and logs goes to a file."""
    process = _starter.Process(target=_serve, args=(log, settings), daemon=True)
    process.start()
    return process


def _serve(log: Path, settings: dict[str, Any]) -> None:
    from poselift_service.__main__ import main

    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(main(**settings))
