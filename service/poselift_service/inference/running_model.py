"""A model that is running: its engine, warmed by a real forward pass, and the batcher in front of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.repository import Published
from poselift.errors import InvalidArtifact
from poselift.networks.network import DeviceLost, EngineUnavailable
from poselift.networks.slice import Slice
from poselift_service.inference.batcher import Batcher, Engine, Trace
from poselift_service.inference.models import Model
from poselift_service.telemetry.metrics import Metrics


class StartableEngine(Engine, Protocol):
    """An engine that can be started and closed."""

    def padded(self, windows: int) -> int:
        """Return how many windows the network runs, padding included, for a batch of `windows`."""

    async def warm_up(self) -> None:
        """Prepare the network until it runs at full speed."""

    def close(self) -> None:
        """Finish the running batch and end the thread."""


@dataclass(frozen=True)
class RunningModel:
    """A model, and the engine behind its batcher."""

    model: Model
    engine: StartableEngine

    async def close(self, *, drain: bool) -> None:
        """Stop the batcher and close the engine.

        Args:
            drain: first wait until every admitted caller has been answered.
        """
        if drain:
            await self.model.batcher.drain()
        await self.model.batcher.stop()
        await asyncio.to_thread(self.engine.close)


async def run_model(
    published: Published,
    *,
    make_engine: Callable[[Artifact], StartableEngine],
    capacity_windows: int,
    metrics: Metrics,
    trace: Trace | None,
    device_lost: Callable[[], None],
) -> RunningModel:
    """Load an artifact, warm its engine up and start its batcher.

    Args:
        make_engine, capacity_windows, trace, device_lost: as for `ModelLoader`.
    Raises:
        InvalidArtifact: the artifact is broken, or its network cannot be run.
    """
    artifact = await asyncio.to_thread(load_artifact, published.location)
    engine = await asyncio.to_thread(make_engine, artifact)
    manifest = artifact.manifest
    try:
        await engine.warm_up()
        await engine.lift([_example_window(artifact)])
    except BaseException as error:
        await asyncio.to_thread(engine.close)
        if isinstance(error, DeviceLost):
            device_lost()
        if isinstance(error, FloatingPointError | EngineUnavailable):
            reason = str(error).rstrip(".")
            raise InvalidArtifact(f"The model {published.reference} cannot be run: {reason}.") from error
        raise
    batcher = Batcher(
        engine,
        capacity_windows=capacity_windows,
        observer=metrics.for_queue(manifest.name, manifest.version, padded=engine.padded),
        trace=trace,
        device_lost=device_lost,
    )
    batcher.start()
    return RunningModel(Model(manifest, published.labels, batcher), engine)


def _example_window(artifact: Artifact) -> Slice:
    """A window of a person standing still, with a missing joint if the network accepts that."""
    frames = np.random.default_rng(0).uniform(-1, 1, (1, *artifact.manifest.frame_shape)).astype(np.float32)
    if artifact.manifest.missing_joints == "token":
        frames[0, 0] = np.nan
    return Slice(frames, np.zeros((1, artifact.lifter.receptive_field), dtype=np.int64))
