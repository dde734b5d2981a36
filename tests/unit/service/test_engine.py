from collections.abc import AsyncIterator

import numpy as np
import pytest
import torch

from poselift import lifters
from poselift.artifact import Artifact, Manifest
from poselift.lifting import Prepared, lift, prepare
from service.engine import Slice, TorchEngine
from tests.integration.walking import at_rate, keypoints, sequence

# Fused blocks against the trained form, and another order of additions.
SAME_POSES_M = 2e-5
NETWORK = {"frames": 9, "channels": 32, "hidden": 64, "layers": 1, "heads": 4, "mask_token": True}


@pytest.fixture
def artifact() -> Artifact:
    manifest = Manifest(
        name="random-9",
        version=1,
        system="pstmo",
        network=NETWORK,
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=2,
        missing_joints="token",
        unit_m=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = lifters.build("pstmo", NETWORK)
    lifter.eval().requires_grad_(requires_grad=False)
    return Artifact(manifest, lifter)


@pytest.fixture
async def engine(artifact: Artifact) -> AsyncIterator[TorchEngine]:
    engine = TorchEngine(artifact, device="cpu", threads=1)
    yield engine
    engine.close()


def prepared(artifact: Artifact, frames: int, person: int) -> Prepared:
    return prepare(sequence(keypoints(at_rate(50, frames), person)), artifact.manifest)


async def test_a_batch_of_slices_is_lifted_as_each_sequence_alone(engine: TorchEngine, artifact: Artifact):
    people = [prepared(artifact, frames, person) for person, frames in enumerate((30, 1, 12))]
    cuts = [(0, 0, 16), (1, 0, 1), (2, 3, 12), (0, 16, 30)]
    batch = [Slice(people[person].frames, people[person].index[start:stop]) for person, start, stop in cuts]
    answers = await engine.lift(batch)
    for (person, start, stop), answer in zip(cuts, answers, strict=True):
        whole = lift(artifact, sequence(keypoints(at_rate(50, len(people[person].index)), person))).joints
        np.testing.assert_allclose(answer, whole[start:stop], atol=SAME_POSES_M)


async def test_warming_up_settles_on_a_batch_size_and_threads(artifact: Artifact):
    engine = TorchEngine(artifact, device="cpu", threads=0)
    assert engine.batch_windows == 1
    await engine.warm_up()
    assert engine.batch_windows > 1
    engine.close()


async def test_numbers_that_are_not_finite_are_a_failure(engine: TorchEngine, artifact: Artifact):
    person = prepared(artifact, 3, 0)
    with pytest.raises(FloatingPointError, match="random-9"):
        await engine.lift([Slice(np.full_like(person.frames, np.inf), person.index)])


async def test_a_failure_does_not_stop_the_engine(engine: TorchEngine, artifact: Artifact):
    person = prepared(artifact, 3, 0)
    with pytest.raises(IndexError):
        await engine.lift([Slice(person.frames[:0], person.index)])
    assert len((await engine.lift([Slice(person.frames, person.index)]))[0]) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(artifact: Artifact):
    with pytest.raises(RuntimeError, match="CUDA"):
        TorchEngine(artifact, device="cuda", threads=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
async def test_the_gpu_gives_the_same_poses(artifact: Artifact):
    engine = TorchEngine(artifact, device="cuda", threads=0)
    await engine.warm_up()
    person = prepared(artifact, 40, 0)
    (answer,) = await engine.lift([Slice(person.frames, person.index)])
    # TensorFloat-32 is off by default in PyTorch, so only the order of additions differs.
    expected = lift(artifact, sequence(keypoints(at_rate(50, 40)))).joints
    np.testing.assert_allclose(answer, expected, atol=10 * SAME_POSES_M)
    engine.close()
