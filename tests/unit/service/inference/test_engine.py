import asyncio
import gc
import importlib.util
import math
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.engine import NetworkEngine, engine_for
from poselift_service.inference.queue import Priority
from torch import Tensor, nn

from poselift.artifacts.artifact import Artifact
from poselift.lifters.lifter import Lifter, Poses
from poselift.lifters.pstmo.sequence import SequenceSTMO
from poselift.lifting import Prepared, lift, prepare
from poselift.live_window import KeptFrames, LiveWindow, arriving_frames
from poselift.networks.network import (
    Candidates,
    EngineUnavailable,
    Group,
    NetworkVariant,
)
from poselift.networks.slice import Slice
from tests.integration.walking import at_rate, keypoints, sequence
from tests.random_artifact import random_artifact

# Fused blocks instead of those of training, and another order of summation.
SAME_POSES_M = 2e-5
NETWORK = {"frames": 9, "channels": 32, "hidden": 64, "layers": 1, "heads": 4, "mask_token": True}
LIBRARIES = [
    "torch",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed"),
    ),
]


def make_artifact() -> Artifact:
    return random_artifact("pstmo", NETWORK, name="random-9", temporal_stride=2, unit_m=0.5)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return make_artifact()


@pytest.fixture(scope="module", params=LIBRARIES)
def engine(artifact: Artifact, request: pytest.FixtureRequest) -> Iterator[NetworkEngine]:
    engine = engine_of(artifact, request.param)
    asyncio.run(engine.warm_up())
    assert engine.variant == NetworkVariant(request.param, "cpu", "float32", 1)
    yield engine
    engine.close()


def engine_of(
    artifact: Artifact, library: str = "auto", *, device: str = "cpu", threads: int = 1, precision: str = "auto"
) -> NetworkEngine:
    return engine_for(artifact, library=library, device=device, threads=threads, precision=precision)


def prepared(artifact: Artifact, frames: int, person: int) -> Prepared:
    return prepare(sequence(keypoints(at_rate(50, frames), person)), artifact.manifest)


def part(person: Prepared, start: int, stop: int) -> Slice:
    return Slice(person.frames, person.index).part(start, stop)


async def test_a_batch_of_slices_is_lifted_as_each_sequence_alone(engine: NetworkEngine, artifact: Artifact):
    people = [prepared(artifact, frames, person) for person, frames in enumerate((30, 1, 12))]
    cuts = [(0, 0, 16), (1, 0, 1), (2, 3, 12), (0, 16, 30)]
    answers = await engine.lift([part(people[person], start, stop) for person, start, stop in cuts])
    for (person, start, stop), answer in zip(cuts, answers, strict=True):
        whole = lift(artifact, sequence(keypoints(at_rate(50, len(people[person].index)), person))).joints
        np.testing.assert_allclose(answer, whole[start:stop], atol=SAME_POSES_M)


async def test_padding_changes_nothing(engine: NetworkEngine, artifact: Artifact):
    person = prepared(artifact, 90, 0)
    whole = lift(artifact, sequence(keypoints(at_rate(50, 90)))).joints
    for windows in (1, 33, 71, 90):
        (answer,) = await engine.lift([part(person, 0, windows)])
        np.testing.assert_allclose(answer, whole[:windows], atol=SAME_POSES_M)
    assert engine.padded(33) == (34 if engine.variant.library == "openvino" else 33)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_live_targets_and_clips_share_a_batch(library: str):
    artifact = random_artifact("pstmo-sequence", NETWORK, name="random-sequence", temporal_stride=2)
    for parameter in cast(SequenceSTMO, artifact.lifter).temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # of a new network, distances say nothing
    engine = engine_of(artifact, library)
    await engine.warm_up()
    walk = sequence(keypoints(at_rate(50, 40)))
    kept = arriving_frames(walk, artifact.manifest, 0, KeptFrames.none(artifact.manifest))
    live = LiveWindow.of(artifact.manifest, 50, 3).prepare(kept, range(30, 40))
    clip = prepared(artifact, 40, 1)
    assert live.ahead is not None
    assert len(set(live.ahead.tolist())) > 1
    slices = [Slice(live.frames, live.index, live.ahead), Slice(clip.frames, clip.index)]
    cuts = [slices[0].part(0, 4), slices[1].part(0, 3), slices[0].part(4, 10), slices[1].part(3, 5)]
    answers = await engine.lift(cuts)
    for answer, one in zip(answers, cuts, strict=True):
        np.testing.assert_allclose(answer, (await engine.lift([one]))[0], atol=SAME_POSES_M)
    assert [answer.shape[1:] for answer in answers] == [(17, 3), (9, 17, 3)] * 2
    (whole,) = await engine.lift(slices[:1])
    np.testing.assert_allclose(np.concatenate(answers[::2]), whole, atol=SAME_POSES_M)
    engine.close()


async def test_numbers_that_are_not_finite_are_a_failure(engine: NetworkEngine, artifact: Artifact):
    person = prepared(artifact, 3, 0)
    with pytest.raises(FloatingPointError, match="random-9"):
        await engine.lift([Slice(np.full_like(person.frames, np.inf), person.index)])


async def test_a_failure_does_not_stop_the_engine(engine: NetworkEngine, artifact: Artifact):
    person = prepared(artifact, 3, 0)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each library raises its own
        await engine.lift([Slice(person.frames[:, :5], person.index)])
    assert len((await engine.lift([Slice(person.frames, person.index)]))[0]) == 3


class ConstantNetwork:
    """Answers every window with the same coordinate and, if given, the same expected error."""

    sizes_per_doubling = None

    def __init__(self, library: str, *answer_m: float) -> None:
        self.variant = NetworkVariant(library, "cpu", "float32", 1)
        coordinate_m, *error_m = answer_m
        self.answer_m = np.array([coordinate_m] * 3 + error_m, dtype=np.float32)

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        return np.tile(self.answer_m, (len(index), frames.shape[1], 1))

    def close(self) -> None: ...

    def renewed(self) -> "ConstantNetwork":
        return self


@pytest.mark.parametrize(("of_torch", "of_other"), [((1,), (1.001,)), ((1,), (np.nan,)), ((1, 3), (1, 3.5))])
async def test_a_library_whose_poses_differ_is_not_used(
    artifact: Artifact, of_torch: tuple[float, ...], of_other: tuple[float, ...], caplog: pytest.LogCaptureFixture
):
    torch, other = ConstantNetwork("torch", *of_torch), ConstantNetwork("openvino", *of_other)
    groups = [Group([network], 1e-4) for network in (torch, other)]
    engine = NetworkEngine(artifact.manifest, lambda: Candidates(torch, groups))
    await engine.warm_up()
    engine.close()
    assert engine.variant.library == "torch"
    assert "openvino float32 is not used" in caplog.text


async def test_expected_errors_may_differ_by_more_than_poses(artifact: Artifact, caplog: pytest.LogCaptureFixture):
    torch, other = ConstantNetwork("torch", 1, 3), ConstantNetwork("openvino", 1, 3.1)
    engine = NetworkEngine(artifact.manifest, lambda: Candidates(torch, [Group([other], 1e-4)]))
    await engine.warm_up()
    engine.close()
    assert engine.variant.library == "openvino"
    assert "is not used" not in caplog.text


@pytest.mark.parametrize("library", ["auto", *LIBRARIES])
async def test_all_but_the_chosen_network_are_released(library: str):
    artifact = make_artifact()
    engine = engine_of(artifact, library, threads=0)
    await engine.warm_up()
    assert engine.batch_windows > 1
    weights = weakref.ref(artifact.lifter)
    del artifact
    gc.collect()
    assert weights() is None
    engine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
async def test_threads_of_the_network_have_a_lower_priority_than_the_event_loop(artifact: Artifact):
    before = threads()
    engine = engine_of(artifact, "torch", threads=2)
    await engine.warm_up()
    niceness = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads() - before}
    engine.close()
    assert niceness == {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)}


def threads() -> set[int]:
    return {int(thread.name) for thread in Path("/proc/self/task").iterdir()}


def test_a_library_that_is_not_installed_is_refused(artifact: Artifact, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'poselift\[openvino\]'"):
        engine_of(artifact, "openvino")


async def test_without_openvino_torch_serves(artifact: Artifact, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine = engine_of(artifact)
    await engine.warm_up()
    engine.close()
    assert engine.variant.library == "torch"


def test_openvino_on_a_gpu_is_refused(artifact: Artifact):
    with pytest.raises(EngineUnavailable, match="CPU only"):
        engine_of(artifact, "openvino", device="cuda")


@pytest.mark.parametrize("library", ["auto", "torch"])
def test_another_precision_than_float32_on_the_cpu_is_refused(artifact: Artifact, library: str):
    with pytest.raises(EngineUnavailable, match="bfloat16 is for GPUs"):
        engine_of(artifact, library, precision="bfloat16")


async def test_a_network_unsupported_by_openvino_is_run_by_torch(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise RuntimeError("an operation is not supported")

    monkeypatch.setattr(pytest.importorskip("poselift.networks.openvino_cpu", exc_type=ImportError), "convert", fail)
    engine = engine_of(artifact)
    await engine.warm_up()
    engine.close()
    assert engine.variant.library == "torch"
    assert "an operation is not supported" in caplog.text
    engine = engine_of(artifact, "openvino")
    with pytest.raises(EngineUnavailable, match="an operation is not supported"):
        await engine.warm_up()
    engine.close()


class SmallMemory(nn.Module):
    """A lifter on a device with memory for a limited number of windows."""

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.lifter = lifter
        self.max_windows = 1024
        self.batches: list[int] = []

    @property
    def config(self) -> Any:
        return self.lifter.config

    @property
    def receptive_field(self) -> int:
        return self.lifter.receptive_field

    def embed(self, frames: Tensor) -> Tensor:
        return self.lifter.embed(frames)

    def aggregate(self, embedded: Tensor) -> Poses:
        if len(embedded) > self.max_windows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        self.batches.append(len(embedded))
        return self.lifter.aggregate(embedded)

    def for_inference(self) -> "SmallMemory":
        return self


async def test_a_batch_that_does_not_fit_is_lifted_in_halves(artifact: Artifact, caplog: pytest.LogCaptureFixture):
    lifter = SmallMemory(artifact.lifter)
    engine = engine_of(Artifact(artifact.manifest, lifter), "torch")
    await engine.warm_up()
    assert engine.batch_windows >= 8
    lifter.max_windows = 4
    person = prepared(artifact, 40, 0)
    expected = lift(artifact, sequence(keypoints(at_rate(50, 40)))).joints
    answers = await engine.lift([part(person, 0, 6), part(person, 6, 8)])
    np.testing.assert_allclose(np.concatenate(answers), expected[:8], atol=SAME_POSES_M)
    assert engine.batch_windows == 4
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning == "random-9 ran out of memory with 8 windows and takes 4 at a time for 60 s"

    lifter.batches.clear()
    batcher = Batcher(engine, capacity_windows=100)
    batcher.start()
    with batcher.admit(40, priority=Priority.BULK, deadline=math.inf):
        lifted = await batcher.lift([Slice(person.frames, person.index)], priority=Priority.BULK, deadline=math.inf)
    await batcher.stop()
    np.testing.assert_allclose(lifted.answers[0], expected, atol=SAME_POSES_M)
    assert lifter.batches == [4] * 10

    lifter.max_windows = 0
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        await engine.lift([part(person, 0, 8)])
    engine.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused(artifact: Artifact):
    with pytest.raises(EngineUnavailable, match="The device cuda cannot be used"):
        engine_of(artifact, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
async def test_the_gpu_gives_the_same_poses(artifact: Artifact):
    engine = engine_of(artifact, device="cuda", precision="float32")
    await engine.warm_up()
    person = prepared(artifact, 90, 0)
    expected = lift(artifact, sequence(keypoints(at_rate(50, 90)))).joints
    for windows in (1, 2, 33, 71, 90):
        (answer,) = await engine.lift([part(person, 0, windows)])
        # TensorFloat-32 is off by default in PyTorch, so only the order of summation differs.
        np.testing.assert_allclose(answer, expected[:windows], atol=10 * SAME_POSES_M)
    engine.close()
