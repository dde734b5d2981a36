"""What the Makefile promises and no other test runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_benchmark_has_a_target() -> None:
    said = subprocess.run(
        ["make", "-n", "bench", "soak", "seams"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    started = {word for word in said.split() if word.startswith("tests.benchmarks.")}
    there = {f"tests.benchmarks.{path.stem}" for path in (REPOSITORY / "tests" / "benchmarks").glob("[!_]*")}
    assert started == there
