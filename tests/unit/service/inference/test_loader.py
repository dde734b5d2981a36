"""Models that come and go, with engines that do what the test says."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from poselift_service.errors import CannotStart, ModelConflict, RepositoryDown, UnknownModel
from poselift_service.inference import loader as module
from poselift_service.inference.loader import ModelLoader
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.networks.network import EngineUnavailable
from poselift_service.inference.queue import EntryResult, Priority
from poselift_service.inference.slice import Slice
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, set_label
from poselift.errors import InvalidArtifact, UnreachableRepository
from poselift.lifters import systems
from tests.unit.service.conftest import EchoEngine
from tests.unit.service.inference.scripted_engine import settle

NETWORK = {"frames": 9, "channels": 8, "hidden": 8, "layers": 1, "heads": 1, "mask_token": True}


class Engine(EchoEngine):
    """Warms up and lifts when the test lets it, and tells what has become of it."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(batch_windows=16)
        self.artifact = artifact
        self.thread = threading.current_thread()
        self.closed = threading.Event()
        self.may_warm_up, self.may_lift = asyncio.Event(), asyncio.Event()
        self.may_warm_up.set()
        self.may_lift.set()
        self.failure: Exception | None = None

    def padded(self, windows: int) -> int:
        return windows

    async def warm_up(self) -> None:
        await self.may_warm_up.wait()

    async def lift(self, batch):
        await self.may_lift.wait()
        if self.failure is not None:
            raise self.failure
        return await super().lift(batch)

    def close(self) -> None:
        self.closed.set()


class Loading:
    """A loader, what it serves, and every engine that it has made, the newest last.

    Attributes:
        prepare: called with each new engine.
    """

    def __init__(self, repository: Path) -> None:
        self.served = ServedModels()
        self.engines: list[Engine] = []
        self.prepare: Callable[[Engine], object] = lambda engine: None
        self.registry = CollectorRegistry()
        self.loader = ModelLoader(
            repository, self.served, make_engine=self._make, capacity_windows=100, metrics=Metrics(self.registry)
        )

    def _make(self, artifact: Artifact) -> Engine:
        engine = Engine(artifact)
        self.prepare(engine)
        self.engines.append(engine)
        return engine

    @property
    def references(self) -> list[str]:
        return [model.reference for model in self.served]

    async def engine(self, number: int) -> Engine:
        """The engine that is made as that one; it is made in another thread."""
        async with asyncio.timeout(60):
            while len(self.engines) <= number:
                await asyncio.sleep(0.01)
        return self.engines[number]


def put(repository: Path, *names: str) -> None:
    """Publish, under each name, the next version of an untrained network."""
    draft = Manifest(
        name="a",
        system="pstmo",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
    )
    for name in names:
        publish(repository, draft.model_copy(update={"name": name}), systems.build("pstmo", NETWORK))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    put(tmp_path, "a", "a", "a")
    set_label(tmp_path, "a", "stable", 1)
    set_label(tmp_path, "a", "canary", 3)
    return tmp_path


@pytest.fixture
async def loading(repository: Path) -> AsyncIterator[Loading]:
    loading = Loading(repository)
    yield loading
    await loading.loader.close(drain=False)
    assert all(engine.closed.is_set() for engine in loading.engines)


@pytest.fixture
async def started(loading: Loading) -> Loading:
    """Serves a@1, which is stable."""
    await loading.loader.start(default=None, references=())
    return loading


async def lift(model: Model) -> EntryResult:
    window = Slice(np.zeros((1, 17, 2), np.float32), np.zeros((1, 9), np.int64))
    with model.batcher.admit(1, priority=Priority.BULK, deadline=float("inf")):
        return await model.batcher.lift([window], priority=Priority.BULK, deadline=float("inf"))


@pytest.mark.parametrize(
    ("default", "references", "served", "answering"),
    [
        (None, (), ["a@1"], "a@1"),
        ("a@2", (), ["a@2"], "a@2"),
        ("a@canary", (), ["a@3"], "a@3"),
        (None, ("a@canary",), ["a@1", "a@3"], "a@1"),
        ("a@3", ("a@2", "a@canary"), ["a@2", "a@3"], "a@3"),
    ],
)
async def test_a_server_begins_with(loading, default, references, served, answering):
    await loading.loader.start(default=default, references=references)
    assert loading.references == served
    assert loading.served.find(None).reference == answering
    assert len(loading.engines) == len(served)


async def test_every_name_is_served_in_one_version(loading: Loading, repository: Path):
    put(repository, "b", "b")
    await loading.loader.start(default="a@2", references=())
    assert loading.references == ["a@2", "b@2"]


@pytest.mark.parametrize(
    ("default", "references", "error", "sentence"),
    [
        (None, (), CannotStart, r"several models in .* \(a, b\); POSELIFT_DEFAULT_MODEL"),
        (None, ("b", "a@2"), CannotStart, r"\(a, b\)"),
        ("c", (), InvalidArtifact, "no model 'c' in .*: a, b"),
        ("a@4", (), InvalidArtifact, "no version or label '4'"),
        ("a", ("b@stable",), InvalidArtifact, "no version or label 'stable'"),
    ],
)
async def test_what_a_server_cannot_begin_with(loading, repository, default, references, error, sentence):
    put(repository, "b")
    with pytest.raises(error, match=sentence):
        await loading.loader.start(default=default, references=references)
    assert loading.served.default is None


async def test_an_empty_repository_is_told_with_its_place(tmp_path: Path):
    with pytest.raises(CannotStart, match=f"no model in {tmp_path}/none"):
        await Loading(tmp_path / "none").loader.start(default=None, references=())


async def test_a_model_is_served_once_it_is_warm_and_others_meanwhile(started: Loading):
    started.prepare = lambda engine: engine.may_warm_up.clear()
    task = asyncio.create_task(started.loader.load("a", "3"))
    engine = await started.engine(1)
    assert engine.thread is not threading.current_thread()
    assert started.references == ["a@1"]
    await lift(started.served.find(None))
    engine.may_warm_up.set()
    model = await task
    assert model is started.served.find("a@canary")
    assert started.served.find(None).reference == "a@1"
    await lift(model)


async def test_a_version_is_loaded_once(started: Loading):
    models = await asyncio.gather(*(started.loader.load("a", "2") for _ in range(3)))
    assert models[0] is models[1] is models[2]
    assert len(started.engines) == 2


async def test_a_version_comes_with_the_labels_of_the_repository(started: Loading, repository: Path):
    set_label(repository, "a", "stable", 2)
    await started.loader.load("a", "2")
    assert [(model.reference, model.labels) for model in started.served] == [("a@1", ()), ("a@2", ("stable",))]
    assert started.served.find(None).reference == "a@2"


@pytest.mark.parametrize("version", ["4", "01", "stable", "../1"])
async def test_a_version_that_is_not_there_is_unknown(started: Loading, version: str):
    with pytest.raises(UnknownModel, match="there are: a@1, a@2, a@3"):
        await started.loader.load("a", version)
    with pytest.raises(UnknownModel, match="there are: a@1"):
        await started.loader.unload("a", version)
    with pytest.raises(UnknownModel, match="there are: a@1"):
        await started.loader.move_label("a", "stable", version)


@pytest.mark.parametrize(
    ("failure", "error", "sentence"),
    [
        (FloatingPointError("numbers that are not finite"), InvalidArtifact, "a@2 cannot be run: numbers that are not"),
        (EngineUnavailable("too far off"), InvalidArtifact, "a@2 cannot be run: too far off"),
        (RuntimeError("out of memory"), RuntimeError, "out of memory"),
    ],
)
async def test_a_network_that_cannot_be_run_changes_nothing(started: Loading, failure, error, sentence):
    started.prepare = lambda engine: setattr(engine, "failure", failure)
    with pytest.raises(error, match=sentence):
        await started.loader.load("a", "2")
    assert started.engines[1].closed.is_set()
    assert started.references == ["a@1"]
    await lift(started.served.find(None))


async def test_broken_weights_change_nothing(started: Loading, repository: Path):
    weights = repository / "a" / "2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InvalidArtifact, match="SHA-256 differs"):
        await started.loader.load("a", "2")
    assert started.references == ["a@1"]
    assert (await started.loader.load("a", "3")).reference == "a@3"
    assert started.registry.get_sample_value("poselift_model_load_failures_total") == 1


async def test_a_load_that_is_given_up_leaves_nothing(started: Loading):
    started.prepare = lambda engine: engine.may_warm_up.clear()
    task = asyncio.create_task(started.loader.load("a", "2"))
    engine = await started.engine(1)
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.closed.is_set()
    started.prepare = lambda engine: None
    await started.loader.load("a", "2")
    assert started.references == ["a@1", "a@2"]


async def test_requests_that_have_a_model_are_finished_before_it_ends(started: Loading):
    model = await started.loader.load("a", "2")
    engine = started.engines[1]
    engine.may_lift.clear()
    answers = [asyncio.create_task(lift(model)) for _ in range(3)]
    await settle()
    task = asyncio.create_task(started.loader.unload("a", "2"))
    await settle()
    assert started.references == ["a@1"]
    assert not task.done()
    assert not engine.closed.is_set()
    await lift(started.served.find(None))
    engine.may_lift.set()
    await task
    assert engine.closed.is_set()
    assert all(len(lifted.answers) == 1 for lifted in await asyncio.gather(*answers))
    assert (await started.loader.load("a", "2")).reference == "a@2"


async def test_the_default_is_not_unloaded_by_whatever_name_it_is_one(started: Loading):
    await started.loader.load("a", "2")
    for reference, version in (("a", "1"), ("a@2", "2"), ("a@stable", "1")):
        await started.loader.set_default(reference)
        with pytest.raises(ModelConflict, match=f"a@{version} answers requests that name no model"):
            await started.loader.unload("a", version)
    await started.loader.set_default("a@2")
    await started.loader.unload("a", "1")
    assert started.references == ["a@2"]


async def test_a_label_moves_here_and_in_the_repository(started: Loading, repository: Path):
    await started.loader.load("a", "2")
    assert await started.loader.move_label("a", "stable", "2")
    assert started.served.find(None).reference == "a@2"
    assert {artifact.reference: artifact.labels for artifact in list_artifacts(repository)} == {
        "a@1": (),
        "a@2": ("stable",),
        "a@3": ("canary",),
    }


async def test_where_nothing_can_be_written_a_label_moves_here(started: Loading, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    await started.loader.load("a", "2")
    monkeypatch.setattr(module, "set_label", refuse)
    assert not await started.loader.move_label("a", "stable", "2")
    assert started.served.find("a@stable").reference == "a@2"


async def test_without_the_repository_nothing_changes(started: Loading, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise UnreachableRepository("The cable was pulled.")

    await started.loader.load("a", "2")
    monkeypatch.setattr(module, "set_label", fail)
    monkeypatch.setattr(module, "list_artifacts", fail)
    with pytest.raises(RepositoryDown, match="cable"):
        await started.loader.move_label("a", "stable", "2")
    with pytest.raises(RepositoryDown, match="cable"):
        await started.loader.load("a", "3")
    assert started.served.find("a@stable").reference == "a@1"
    assert started.references == ["a@1", "a@2"]


@pytest.mark.parametrize("label", ["2", "Stable", "", "a/b", "a" * 64])
async def test_a_label_that_could_be_something_else_is_refused(started: Loading, label: str):
    with pytest.raises(InvalidArtifact, match="A label starts with a letter"):
        await started.loader.move_label("a", label, "1")
    assert started.served.find("a").labels == ("stable",)


async def test_nothing_is_kept_of_a_model_that_is_unloaded(started: Loading):
    await started.loader.load("a", "2")
    engine = weakref.ref(started.engines.pop())
    gc.disable()  # a server collects seldom, and never what it started with
    try:
        await started.loader.unload("a", "2")
        # The thread in which it was closed may take a moment to let go of it.
        async with asyncio.timeout(60):
            while engine() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
