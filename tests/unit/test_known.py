"""What is known of camera and person, on its way to a network and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from poselift_training.data.sequences import Recording, Sequences

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.coordinates import mirror
from poselift.errors import InvalidArtifact
from poselift.known import KNOWN_ROWS, NOTHING_KNOWN, known_rows
from poselift.lifters.pstmo.sequence import SequenceSTMO, SequenceSTMOConfig
from poselift.lifting import lift, screen_frames
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.benchmarks.known import told_rows, trunk_error_deg

H36M = skeleton("h36m17")
CAMERA, PERSON = Camera(focal_px=900, gravity=(0.6, 0.8, 0.0)), Person(height_m=1.87)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    config = SequenceSTMOConfig(9, channels=32, hidden=48, layers=2, expected_error=True, known=True, gravity=True)
    manifest = Manifest(
        name="knowing",
        system="pstmo-sequence",
        network={"frames": 9, "channels": 32, "hidden": 48, "layers": 2, "expected_error": True}
        | {"known": True, "gravity": True},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=3,
        missing_joints="token",
    )
    return Artifact(manifest, SequenceSTMO(config).eval())


def person(camera: Camera = UNKNOWN_CAMERA, person: Person = UNKNOWN_PERSON) -> Sequence:
    positions = np.random.default_rng(0).normal(size=(30, 17, 2)) * 60 + [640, 360]
    keypoints = np.concatenate([positions, np.ones((30, 17, 1))], axis=-1).astype(np.float32)
    return Sequence(keypoints, H36M, 1280, 720, Sequence.times_at(50, 30), camera=camera, person=person)


def test_rows_hold_focal_length_gravity_and_stature() -> None:
    rows = known_rows(CAMERA, PERSON, 1280)
    expected = np.array([[0, math.log(2 * 900 / 1280)], [0.6, 0.8], [0, 0], [0, math.log(1.87 / 1.7)]])
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert np.isnan(NOTHING_KNOWN).all()


def test_frames_carry_what_is_known_below_their_joints(artifact: Artifact) -> None:
    frames = screen_frames(person(CAMERA, PERSON), artifact.manifest)
    assert frames.screen.shape == (30, 17 + KNOWN_ROWS, 2) == (30, *artifact.manifest.frame_shape)
    # Networks see what a camera without roll would have seen.
    level = replace(CAMERA, gravity=(0.0, 1.0, 0.0))
    np.testing.assert_array_equal(frames.screen[7, 17:], known_rows(level, PERSON, 1280))
    assert frames.imputed.shape == (30, 17)
    assert np.isnan(screen_frames(person(), artifact.manifest).screen[:, 17:]).all()


def test_a_mirrored_frame_falls_to_the_other_side(artifact: Artifact) -> None:
    from_above = replace(CAMERA, gravity=(0.36, 0.0, 0.93))
    frame = screen_frames(person(from_above, PERSON), artifact.manifest).screen[:1]
    np.testing.assert_allclose(mirror(frame, H36M)[0, 17:, 0], [0, -0.36, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(mirror(frame, H36M)[0, 17:, 1], frame[0, 17:, 1])


def test_each_thing_that_is_known_changes_the_poses(artifact: Artifact) -> None:
    poses = [
        lift(artifact, sequence).joints
        for sequence in (
            person(),
            person(Camera(focal_px=900)),
            person(Camera(gravity=(0.6, 0.8, 0.0))),
            person(person=PERSON),
        )
    ]
    for number, one in enumerate(poses):
        for other in poses[:number]:
            assert np.abs(one - other).max() > 1e-4


@torch.no_grad()
def test_frames_without_rows_are_those_of_which_nothing_is_known(artifact: Artifact) -> None:
    lifter = artifact.lifter
    windows = torch.randn(2, 9, 17, 2)
    nothing = torch.from_numpy(NOTHING_KNOWN).expand(2, 9, KNOWN_ROWS, 2)
    assert torch.equal(lifter(windows).answer, lifter(torch.cat([windows, nothing], dim=2)).answer)
    fused = lifter.for_inference()
    torch.testing.assert_close(fused(windows).answer, lifter(windows).answer, atol=2e-5, rtol=2e-5)


def test_the_direction_of_falling_is_no_joint(artifact: Artifact) -> None:
    lifted = lift(artifact, person(), mirrored_average=True)
    assert lifted.joints.shape == (30, 17, 3)
    assert lifted.expected_error_m is not None
    assert lifted.expected_error_m.shape == (30, 17)
    assert lifted.gravity is not None
    assert lifted.gravity.shape == (30, 3)
    assert lifted.gravity_error is not None
    assert lifted.gravity_error.shape == (30,)


def test_what_is_known_needs_a_token_for_what_is_not() -> None:
    with pytest.raises(InvalidArtifact, match="known needs mask_token"):
        SequenceSTMOConfig(9, known=True, mask_token=False)


def test_the_benchmark_tells_the_truth_of_a_film() -> None:
    poses = np.random.default_rng(1).normal(size=(5, 17, 3))
    intrinsics = np.array([2 * 900 / 1280, *[0.0] * 8])
    recording = Recording(
        "one", "walk", "0", np.zeros((5, 17, 2)), poses, intrinsics=intrinsics, up=np.array([-0.6, -0.8, 0.0])
    )
    films = Sequences.join([recording], H36M, unit_m=1.0, frame_rate_hz=50)
    told = told_rows(films, ("focal", "gravity", "stature"))[0].numpy()
    np.testing.assert_allclose(told[:3], known_rows(CAMERA, PERSON, 1280)[:3], atol=1e-6)
    assert np.isfinite(told[3]).all()
    assert told_rows(films, ()).isnan().all()


def test_the_benchmark_measures_the_angle_between_trunks() -> None:
    poses = np.random.default_rng(1).normal(size=(5, 17, 3)).astype(np.float32)
    poses[:, H36M.joint_names.index("thorax")] = 0, -0.5, 0
    turned = poses.copy()
    turned[:, H36M.joint_names.index("thorax")] = 0, -0.6 * math.cos(math.radians(10)), 0.6 * math.sin(math.radians(10))
    assert trunk_error_deg(poses, poses) == pytest.approx(0, abs=0.1)
    assert trunk_error_deg(turned, poses) == pytest.approx(10, abs=0.01)
