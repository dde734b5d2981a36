"""Whole clips by PyTorch alone, and by the network that the server would choose."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from poselift.camera import Camera, gravity_from_angles
from poselift.errors import InvalidArtifact
from poselift.lifting import lift
from poselift.networks import clips
from poselift.networks.clips import ClipLifter
from poselift.networks.network import EngineUnavailable
from tests.integration.walking import at_rate, keypoints, sequence
from tests.random_artifact import random_artifact

# What separates two libraries, or two sizes of a batch.
SAME_POSES_M = 1e-4
NETWORKS = {
    "pstmo": {"frames": 9, "channels": 32, "hidden": 64, "layers": 1, "heads": 4},
    "mixste": {"frames": 9, "channels": 32, "hidden": 64, "layers": 1, "heads": 4},
    "pstmo-sequence": {
        "frames": 9,
        "channels": 32,
        "hidden": 64,
        "layers": 1,
        "heads": 4,
        "mask_token": True,
        "expected_error": True,
        "gravity": True,
    },
}


def artifact_of(system="pstmo", **fields):
    with_token = system == "pstmo" and fields.get("missing_joints") != "hold"
    network = NETWORKS[system] | ({"mask_token": True} if with_token else {})
    return random_artifact(system, network, **{"temporal_stride": 2} | fields)


def walk(frames=200):
    seen = keypoints(at_rate(30, frames))
    seen[40:60, 3] = np.nan
    return replace(sequence(seen, fps=30), camera=Camera(gravity=gravity_from_angles(10, 30)))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(clips, "_PART_FRAMES", 64)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("mirrored_average", [False, True])
@pytest.mark.parametrize(
    "artifact",
    [
        artifact_of(),
        artifact_of(smoothed=True),
        artifact_of(missing_joints="hold"),
        artifact_of("mixste"),
        artifact_of("pstmo-sequence"),
    ],
    ids=["token", "smoothed", "hold", "sequence-to-sequence", "gravity"],
)
def test_parts_of_a_clip_are_lifted_as_the_whole(artifact, mirrored_average):
    expected = lift(artifact, walk(), mirrored_average=mirrored_average)
    advanced: list[float] = []
    lifted = ClipLifter(artifact).lift(walk(), mirrored_average=mirrored_average, advance=advanced.append)
    np.testing.assert_allclose(lifted.joints, expected.joints, atol=SAME_POSES_M)
    np.testing.assert_array_equal(lifted.imputed, expected.imputed)
    for told, as_expected in ((lifted.gravity, expected.gravity), (lifted.gravity_error, expected.gravity_error)):
        assert (told is None) == (as_expected is None)
        if told is not None and as_expected is not None:
            assert np.abs(told - as_expected).max() < SAME_POSES_M
    assert sum(advanced) == pytest.approx(200)


@pytest.mark.usefixtures("small_parts")
def test_long_work_is_done_by_the_fastest_network(monkeypatch):
    monkeypatch.setattr(clips, "_PACE_S", 0)
    artifact = artifact_of()
    lifter = ClipLifter(artifact, worth_choosing_s=0)
    before = lifter.network
    expected = lift(artifact, walk()).joints
    for _ in range(2):
        np.testing.assert_allclose(lifter.lift(walk()).joints, expected, atol=SAME_POSES_M)
    assert lifter.network is not before


def test_short_work_does_not_wait_for_a_choice():
    lifter = ClipLifter(artifact_of(), worth_choosing_s=1e6)
    before = lifter.network
    lifter.lift(walk())
    assert lifter.network is before


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("problem", [EngineUnavailable("none"), torch.OutOfMemoryError("the GPU is full")])
def test_without_a_network_to_choose_pytorch_goes_on(monkeypatch, problem):
    def refuse(_tuned):
        raise problem

    monkeypatch.setattr(clips, "_PACE_S", 0)
    monkeypatch.setattr("poselift.networks.tuned.TunedNetwork.tune", refuse)
    artifact = artifact_of()
    lifted = ClipLifter(artifact, worth_choosing_s=0).lift(walk())
    np.testing.assert_allclose(lifted.joints, lift(artifact, walk()).joints, atol=SAME_POSES_M)


def test_numbers_that_are_not_finite_are_refused():
    artifact = artifact_of()
    artifact.lifter.centre_head.norm.bias.data.fill_(np.nan)
    with pytest.raises(InvalidArtifact, match="not finite"):
        ClipLifter(artifact).lift(walk())
