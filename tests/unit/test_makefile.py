"""The parts of the Makefile that no other test runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands_of(*arguments: str) -> str:
    """What make would run, without running it."""
    return subprocess.run(["make", "-n", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


@needs_make
def test_every_benchmark_has_a_target() -> None:
    commands = commands_of("bench", "soak", "seams", "tracking", "irregular", "known", "motion", "rig")
    started = {word for word in commands.split() if word.startswith("tests.benchmarks.")}
    existing = {f"tests.benchmarks.{path.stem}" for path in (REPOSITORY / "tests" / "benchmarks").glob("[!_]*")}
    assert started == existing


def test_every_target_that_help_lists_runs_whatever_files_there_are() -> None:
    makefile = (REPOSITORY / "Makefile").read_text().replace("\\\n", "")
    listed = set(re.findall(r"^(\w+):.*##", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert len(listed) > 10
    assert listed <= set(phony[1].split())


@needs_make
def test_serving_takes_the_cpu_build_of_torch_and_no_development_packages() -> None:
    index = "https://download.pytorch.org/whl/cpu"
    commands = commands_of("--always-make", "serve", f"TORCH_INDEX={index}", "TORCH_VERSION=2.13.0")
    assert re.search(rf"--index-url {index} .*'torch==2\.13\.0\+cpu'", commands)
    assert "'.[serve,openvino,client]'" in commands
    assert "[dev]" not in commands
    assert "[dev]" in commands_of("--always-make", "unit")


def test_the_images_have_the_torch_of_the_environment() -> None:
    """The Dockerfiles can be built without make, so they name the version, too."""
    files = [REPOSITORY / "Makefile", *(REPOSITORY / "docker").glob("*.Dockerfile")]
    named = [re.findall(r"^(?:ARG )?TORCH_VERSION ?\??= ?(\d\S*)$", file.read_text(), re.MULTILINE) for file in files]
    assert len(named) == 3
    assert len(set(map(tuple, named))) == 1, named
    assert len(named[0]) == 1
