"""Small models with random weights, and servers that many tests share.

Most want a model that lifts. A module with a fixture `models` of its own has all other fixtures serve that.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from poselift_service.__main__ import main

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import set_label
from poselift.lifters import systems
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.stream_clients import Replica
from tests.integration.transports import Transport, transports_to

MODEL = "random-27"
COMPLETION = "completing-27"
MAX_FRAMES = 600
MAX_TRACKS = 5
MAX_BODY_BYTES = 2_000_000
LIMITS = {"max_frames": MAX_FRAMES, "max_tracks": MAX_TRACKS, "max_body_bytes": MAX_BODY_BYTES}
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


def small_draft(name: str, network: dict[str, Any], **changes: Any) -> Manifest:
    """What to publish a small network of Human3.6M joints with, at 50 Hz."""
    fields: dict[str, Any] = {
        "name": name,
        "system": "pstmo",
        "network": network,
        "input_skeleton": "h36m17",
        "output_skeleton": "h36m17",
        "frame_rate_hz": 50,
        "temporal_stride": 3,
        "missing_joints": "token",
    }
    return Manifest(**fields | changes)


def publish_random_models(repository: Path) -> None:
    """Publish two versions of a small network, as they were initialised."""
    draft = small_draft(MODEL, NETWORK, smoothed=True)
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            publish(repository, draft, systems.build("pstmo", NETWORK))
    set_label(repository, MODEL, "stable", 1)


def publish_completion_model(repository: Path) -> None:
    """Publish a small network that completes poses, as it was initialised."""
    network = {"frames": 27, "channels": 32, "hidden": 64, "layers": 2, "heads": 4}
    draft = small_draft(COMPLETION, network, system="mpm-completion", temporal_stride=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        publish(repository, draft, systems.build("mpm-completion", network))


@pytest.fixture(scope="session")
def artifact(models: Path) -> Artifact:
    """The model that the server serves."""
    return load_artifact(models / MODEL / "1")


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("server") / "log"
    with running(models, log, default_model=f"{MODEL}@stable", **LIMITS) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=ANSWER_S) as client:
        yield client


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def both(models: Path, tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[ServerProcess]:
    """A server that answers over HTTP and gRPC."""
    log = tmp_path_factory.mktemp("both") / "log"
    with running(models, log, default_model=f"{MODEL}@stable", grpc_port=grpc_port, **LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def transports(both: ServerProcess, grpc_port: int) -> Iterator[dict[str, Transport]]:
    with transports_to(both.address, grpc_port) as transports:
        yield transports


@pytest.fixture(params=["json", "protobuf", "grpc"])
def transport(transports: dict[str, Transport], request: pytest.FixtureRequest) -> Transport:
    return transports[request.param]


@pytest.fixture(scope="module")
def replicas(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Two servers that share one Redis."""
    with ExitStack() as processes:
        redis = processes.enter_context(running_redis(tmp_path_factory.mktemp("redis")))
        started = []
        for _ in range(2):
            log, port = tmp_path_factory.mktemp("replica") / "log", free_port()
            settings = {"grpc_port": port, "redis_url": redis.url, "session_store_timeout_s": 10}
            started.append(Replica(processes.enter_context(running(models, log, **settings)).address, port))
        yield started


@pytest.fixture
def failed_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Start a server, in this process, that must refuse to; gives the sentence it says."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(
        "poselift_service.telemetry.logs.configure", lambda *settings: None
    )  # it would take the logs away from pytest

    def start(models: Path, **given: object) -> str:
        assert main(**{"models": models, "port": 0, "grpc_port": 0, "metrics_port": 0, "threads": 1, **given}) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        return said

    return start
