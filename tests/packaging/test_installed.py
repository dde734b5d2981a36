"""The wheel in an environment of its own, used from a folder outside of the checkout.

By default the environment borrows torch and the other dependencies from the one that runs the tests. With
INSTALL_FROM_INDEX=1, as `make wheel` sets it, pip installs them, which takes minutes and about 1 GB.
"""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from tests.integration.server_process import ANSWER_S, REPOSITORY, START_S, STOP_S
from tests.packaging.distributions import (
    Distributions,
    Environment,
    create_environment,
    index_is_reachable,
    install_alone,
    install_from_index,
    lend_dependencies,
)

SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
SAMPLE_FRAMES = 100
DEPENDENCIES = ("borrowed", "from index") if os.environ.get("INSTALL_FROM_INDEX") else ("borrowed",)
# Of an environment with the extra `client` alone; 28 MB were measured, 6 of them this package.
MAX_CLIENT_BYTES = 50_000_000
MAX_IMPORT_CPU_S = 0.3
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", params=DEPENDENCIES)
def environment(
    request: pytest.FixtureRequest, distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """The wheel with its dependencies."""
    made = create_environment(tmp_path_factory.mktemp("installed"))
    if request.param == "borrowed":
        install_alone(made, distributions.wheel)
        lend_dependencies(made)
    else:
        if not index_is_reachable(tmp_path_factory.mktemp("download")):
            pytest.skip("pip reaches no package index from here, so the dependencies cannot be installed")
        # The build of torch that runs the tests, so that pip does not take a larger one.
        install_from_index(made, f"torch=={version('torch')}", f"{distributions.wheel}[serve,openvino]")
    yield made
    shutil.rmtree(made.folder)


def test_it_is_the_installed_package_that_runs(environment: Environment):
    printed = environment.run(
        "python", "-c", "import poselift, poselift_service, poselift_training; print(poselift.__file__)"
    )
    assert environment.folder in Path(printed.strip()).parents


def test_it_prints_its_version(environment: Environment):
    printed = environment.run("python", "-c", "import poselift; print(poselift.__version__)").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", printed)
    assert environment.run("poselift", "--version").split()[-1] == printed


def test_it_lifts_the_sample_with_the_shipped_model(environment: Environment):
    answer = json.loads(environment.run("poselift", "lift", SAMPLE))
    assert len(answer["poses"]) == SAMPLE_FRAMES
    assert answer["model"]["name"] == "pstmo-tiny-27"


def test_it_finds_its_recipes(environment: Environment):
    code = "from poselift_training.recipe import SHIPPED; print(*sorted(path.name for path in SHIPPED.iterdir()))"
    recipes = environment.run("python", "-c", code).split()
    assert recipes == sorted(path.name for path in (REPOSITORY / "training" / "recipes").iterdir())


def test_it_serves_the_shipped_model(environment: Environment):
    with serving(environment) as address:
        answer = httpx.post(f"{address}/lift", content=SAMPLE.read_bytes(), headers=JSON, timeout=ANSWER_S)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["poses"]) == SAMPLE_FRAMES
        (model,) = httpx.get(f"{address}/models", timeout=ANSWER_S).json()
        assert model["labels"] == ["stable"]


@pytest.mark.skipif("from index" not in DEPENDENCIES, reason="only `make wheel` installs from an index")
def test_the_client_alone_is_small_and_imports_at_once(distributions: Distributions, tmp_path: Path):
    if not index_is_reachable(tmp_path):
        pytest.skip("pip reaches no package index from here, so the dependencies cannot be installed")
    made = create_environment(tmp_path)
    install_from_index(made, f"{distributions.wheel}[client]")
    assert sum(file.stat().st_size for file in made.folder.rglob("*") if file.is_file()) < MAX_CLIENT_BYTES
    measure = "import time; import poselift.client; print(time.process_time())"
    assert float(made.run("python", "-c", measure)) < MAX_IMPORT_CPU_S


@contextmanager
def serving(environment: Environment) -> Iterator[str]:
    """Start `poselift serve` on a free port; yields its address. Stopping it must succeed."""
    process = subprocess.Popen(
        [environment.folder / "bin" / "poselift", "serve", "--port=0", "--grpc-port=0", "--metrics-port=0"],
        cwd=environment.working_directory,
        env=environment.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        lines = iter(process.stdout)
        yield next(match[1] for line in lines if (match := re.search(r"ready on (https?://\S+)", line)))
        process.terminate()
        assert process.wait(STOP_S) == 0
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
