"""The parts of the Makefile that no other test runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_benchmark_has_a_target() -> None:
    commands = subprocess.run(
        ["make", "-n", "bench", "soak", "seams"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    started = {word for word in commands.split() if word.startswith("tests.benchmarks.")}
    existing = {f"tests.benchmarks.{path.stem}" for path in (REPOSITORY / "tests" / "benchmarks").glob("[!_]*")}
    assert started == existing


def test_the_images_have_the_torch_of_the_environment() -> None:
    """The Dockerfiles can be built without make, so they name the version, too."""
    files = [REPOSITORY / "Makefile", *(REPOSITORY / "docker").glob("*.Dockerfile")]
    named = [re.findall(r"^(?:ARG )?TORCH_VERSION ?\??= ?(\d\S*)$", file.read_text(), re.MULTILINE) for file in files]
    assert len(named) == 3
    assert len(set(map(tuple, named))) == 1, named
    assert len(named[0]) == 1
