"""The real server, as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

REPOSITORY = Path(__file__).parents[2]
START_S, STOP_S = 120.0, 60.0
ANSWER_S = 60.0

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class ServerProcess:
    """A server that is ready.

    Attributes:
        address: `http://127.0.0.1:<port>`.
        log: file that its JSON lines go to.
    """

    address: str
    process: subprocess.Popen[str]
    log: Path

    def log_lines(self) -> list[dict[str, Any]]:
        # What follows the last line break is still being written.
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def request_line(self, request_id: str) -> dict[str, Any]:
        """The line that a request has left. The server writes it when the answer is out, so it may come after that."""
        return eventually(
            lambda: next((line for line in self.log_lines() if line.get("request_id") == request_id), None)
        )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def eventually(look: Callable[[], Seen | None], *, within_s: float = ANSWER_S) -> Seen:
    """What `look` finds, as soon as it finds something."""
    giving_up = time.monotonic() + within_s
    while (seen := look()) is None:
        assert time.monotonic() < giving_up, "it did not come"
        time.sleep(0.02)
    return seen


def environment(models: Path | str, **settings: object) -> dict[str, str]:
    """Environment of a server on a free port, with the engine that starts fastest; `settings` by name."""
    ports = {"port": 0, "grpc_port": 0, "metrics_port": 0}
    given = {"models": models, **ports, "engine": "torch", "threads": 1, **settings}
    return {**os.environ, "OMP_NUM_THREADS": "1", **{f"POSELIFT_{name.upper()}": str(v) for name, v in given.items()}}


@contextmanager
def running(models: Path | str, log: Path, **settings: object) -> Iterator[ServerProcess]:
    """Start a server, wait until it is ready, and end it; a server that does not end in order fails the test."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "poselift_service"],
            cwd=REPOSITORY,
            env=environment(models, **settings),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = _announced_address(process, process.stdout)
            assert address is not None, f"the server did not start: {log.read_text()}"
            yield ServerProcess(address, process, log)
            if process.poll() != -signal.SIGKILL:  # unless the test has killed it
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _announced_address(process: subprocess.Popen[str], said: IO[str]) -> str | None:
    giving_up = threading.Timer(START_S, process.kill)
    giving_up.start()
    try:
        return next((match[1] for line in said if (match := re.search(r"ready on (https?://\S+)", line))), None)
    finally:
        giving_up.cancel()
