"""A model loader, and engines whose steps are driven by the test."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from poselift_service.inference.loader import ModelLoader
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.queue import EntryResult, Priority
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.lifters import systems
from poselift.networks.slice import Slice
from tests.unit.service.conftest import EchoEngine

NETWORK = {"frames": 9, "channels": 8, "hidden": 8, "layers": 1, "heads": 1, "mask_token": True}


class GatedEngine(EchoEngine):
    """Warms up and lifts when the test allows it, and records in which thread it was created and that it was closed."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(batch_windows=16)
        self.artifact = artifact
        self.thread = threading.current_thread()
        self.closed = threading.Event()
        self.is_warming, self.may_warm_up, self.may_lift = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_warm_up.set()
        self.may_lift.set()
        self.failure: Exception | None = None

    def padded(self, windows: int) -> int:
        return windows

    async def warm_up(self) -> None:
        self.is_warming.set()
        await self.may_warm_up.wait()

    async def lift(self, batch):
        await self.may_lift.wait()
        if self.failure is not None:
            raise self.failure
        return await super().lift(batch)

    def close(self) -> None:
        self.closed.set()


class DrivenLoader:
    """A loader, the models it serves, and all engines it has created, the newest last.

    Attributes:
        prepare: called with each new engine.
    """

    def __init__(self, repository: Path) -> None:
        self.served = ServedModels()
        self.engines: list[GatedEngine] = []
        self.prepare: Callable[[GatedEngine], object] = lambda engine: None
        self.registry = CollectorRegistry()
        self.loader = ModelLoader(
            repository, self.served, make_engine=self._make, capacity_windows=100, metrics=Metrics(self.registry)
        )

    def _make(self, artifact: Artifact) -> GatedEngine:
        engine = GatedEngine(artifact)
        self.prepare(engine)
        self.engines.append(engine)
        return engine

    @property
    def references(self) -> list[str]:
        return [model.reference for model in self.served]

    async def engine(self, number: int) -> GatedEngine:
        """Wait until the engine with this number has been created, which happens in another thread."""
        async with asyncio.timeout(60):
            while len(self.engines) <= number:
                await asyncio.sleep(0.01)
        return self.engines[number]


def publish_untrained(repository: Path, *names: str) -> None:
    """Publish the next version of an untrained network under each name."""
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


async def lift(model: Model) -> EntryResult:
    window = Slice(np.zeros((1, 17, 2), np.float32), np.zeros((1, 9), np.int64))
    with model.batcher.admit(1, priority=Priority.BULK, deadline=float("inf")):
        return await model.batcher.lift([window], priority=Priority.BULK, deadline=float("inf"))
