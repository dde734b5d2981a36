"""One small model with random weights, and one server that most tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import torch

from poselift import lifters
from poselift.artifact import Artifact, Manifest, load_artifact, publish, set_label
from service.__main__ import main
from tests.integration.server_process import ANSWER_S, ServerProcess, running

MODEL = "random-27"
MAX_FRAMES = 600
MAX_TRACKS = 5
MAX_BODY_BYTES = 2_000_000
NETWORK = {
    "frames": 27,
    "channels": 32,
    "hidden": 64,
    "layers": 2,
    "heads": 4,
    "mask_token": True,
    "person_centred": True,
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model, of which version 1 is labelled stable and version 2 is newer."""
    repository = tmp_path_factory.mktemp("models")
    publish_random_models(repository)
    return repository


def publish_random_models(repository: Path) -> None:
    """Publish two versions of a small network, as they were initialised."""
    draft = Manifest(
        name=MODEL,
        system="pstmo",
        network=NETWORK,
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=3,
        missing_joints="token",
    )
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            publish(repository, draft, lifters.build("pstmo", NETWORK))
    set_label(repository, MODEL, "stable", 1)


@pytest.fixture(scope="session")
def artifact(models: Path) -> Artifact:
    """The model that the server serves."""
    return load_artifact(models / MODEL / "1")


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("server") / "log"
    with running(
        models,
        log,
        default_model=f"{MODEL}@stable",
        max_frames=MAX_FRAMES,
        max_tracks=MAX_TRACKS,
        max_body_bytes=MAX_BODY_BYTES,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=ANSWER_S) as client:
        yield client


@pytest.fixture
def failed_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Start a server, in this process, that must refuse to; gives the sentence it says."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr("service.logs.configure", lambda level: None)  # it would take the logs away from pytest

    def start(models: Path, **given: object) -> str:
        assert main(**{"models": models, "port": 0, "grpc_port": 0, "metrics_port": 0, "threads": 1, **given}) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        return said

    return start
