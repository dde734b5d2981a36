"""What the Makefile promises and no other test runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_bench_runs_every_benchmark() -> None:
    said = subprocess.run(["make", "-n", "bench"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    started = {word for word in said.split() if word.startswith("tests.benchmarks.")}
    there = {f"tests.benchmarks.{file.stem}" for file in (REPOSITORY / "tests" / "benchmarks").glob("[!_]*.py")}
    assert started == there
