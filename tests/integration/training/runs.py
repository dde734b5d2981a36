"""What the tests of training runs share: their files, and processes that train."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from poselift_training.recipe import load_recipe

from poselift.lifters.pstmo.network import STMOConfig

REPOSITORY = Path(__file__).resolve().parents[3]
GOLDEN = REPOSITORY / "tests" / "golden"


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()]


def start(*command: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-m", *command], env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def smoke_network(*overrides: str) -> STMOConfig:
    network = load_recipe(Path("smoke"), overrides).network
    assert isinstance(network, STMOConfig)
    return network
