"""A pipeline on an engine without a network."""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.queue import Priority
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.pipeline.request import Limits

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted
from tests.unit.service.inference.scripted_engine import ScriptedEngine

CAPACITY = 200


@contextmanager
def full(batcher: Batcher) -> Iterator[None]:
    """Take all permits of a batcher, those of the reserve for short requests included."""
    with ExitStack() as permits:
        for windows in (CAPACITY, *[CAPACITY // 100] * 10):
            permits.enter_context(batcher.admit(windows, priority=Priority.BULK, deadline=math.inf))
        yield


@pytest.fixture
def manifest() -> Manifest:
    """A network that takes 5 consecutive frames of Human3.6M joints."""
    return Manifest(
        name="scripted",
        version=3,
        system="pstmo",
        network={"frames": 5},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
        weights_sha256="0123456789abcdef" * 4,
    )


def random_result(manifest: Manifest, *track_ids: str | None, frames: int = 3, knows_errors: bool = False) -> Result:
    """Make random poses of some people, with some joints imputed and with arrays that are not contiguous."""
    random = np.random.default_rng(1)
    people = []
    for _ in track_ids:
        answer = random.normal(size=(frames, 17, 4)).astype(np.float32, order="F")
        errors = np.abs(answer[..., 3]) if knows_errors else None
        people.append(Lifted(answer[..., :3], random.random((17, frames)).T < 0.5, errors))
    tracks = tuple(LiftedTrack(name, lifted) for name, lifted in zip(track_ids, people, strict=True))
    return Result(manifest, tracks, queue_s=0.25, inference_s=0.5)


class EchoEngine(ScriptedEngine):
    """Answers at once with the network's input, in the middle frame or in all frames of each window, and z = 1.

    With `knows_errors`, the expected error of a joint is the absolute value of its x.
    """

    answers_whole = False
    knows_errors = False

    async def lift(self, batch):
        self.batches.append(list(batch))
        rows = [part.index if self.answers_whole else part.index[:, part.index.shape[1] // 2] for part in batch]
        seen = [part.frames[index] for part, index in zip(batch, rows, strict=True)]
        expected_errors = [np.abs(joints[..., :1]) for joints in seen]
        return [
            np.concatenate([joints, np.ones_like(errors), *([errors] if self.knows_errors else [])], axis=-1)
            for joints, errors in zip(seen, expected_errors, strict=True)
        ]


@dataclass(frozen=True)
class Serving:
    """A pipeline, and the engine and batcher inside it."""

    pipeline: Pipeline
    batcher: Batcher
    engine: EchoEngine


@pytest.fixture
async def serving(manifest: Manifest) -> AsyncIterator[Serving]:
    async with serving_of(manifest) as serving:
        yield serving


@pytest.fixture
async def whole_windows(manifest: Manifest) -> AsyncIterator[Serving]:
    """A pipeline with a network that answers with all frames of a window."""
    async with serving_of(manifest.model_copy(update={"system": "mixste"})) as serving:
        yield serving


@asynccontextmanager
async def serving_of(manifest: Manifest) -> AsyncIterator[Serving]:
    engine = EchoEngine(batch_windows=16)
    engine.answers_whole = manifest.sequence_to_sequence
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    models = ServedModels()
    models.add(Model(manifest, ("stable",), batcher))
    models.set_default(manifest.name)
    yield Serving(Pipeline(models, limits=Limits(frames=100, tracks=3)), batcher, engine)
    await batcher.stop()
