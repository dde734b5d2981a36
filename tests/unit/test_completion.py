"""3D poses with missing joints: made root-relative, completed, and moved back to their origin."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.completion import complete, fill, prepare
from poselift.coordinates import mirror
from poselift.errors import InvalidArtifact, InvalidKeypoints, InvalidPoses
from poselift.lifters.mpm.completion import MPMCompletion, MPMCompletionConfig
from poselift.lifting import lift
from poselift.sequence import PoseSequence, Sequence
from poselift.skeletons import skeleton
from tests.unit.test_live_window import person as keypoints_of

H36M = skeleton("h36m17")
SAME_POSES_M = 2e-5


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    manifest = Manifest(
        name="completing",
        system="mpm-completion",
        network={"frames": 9},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
        unit_m=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Artifact(manifest, MPMCompletion(MPMCompletionConfig(9, 16, 32, 1, heads=2)).eval())


def person(frames: int, fps: float = 50.0, missing: float = 0.0, seed: int = 0) -> PoseSequence:
    """A moving person; joints except the root are missing at random."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 0.3, (1, 17, 3)) + random.normal(0, 0.02, (frames, 17, 3))
    joints += np.linspace((0, 0, 4), (1, 0, 5), frames)[:, None]
    hidden = random.random((frames, 17)) < missing
    hidden[:, 0] = False
    joints[hidden] = np.nan
    return PoseSequence(joints, H36M, Sequence.times_at(fps, frames))


def test_given_joints_are_unchanged(artifact: Artifact):
    sequence = person(40, missing=0.3)
    sequence.joints[7] = np.nan
    completed = complete(artifact, sequence)
    given = ~np.isnan(sequence.joints)
    assert (completed.joints[given] == sequence.joints[given]).all()
    assert np.isfinite(completed.joints).all()
    np.testing.assert_array_equal(completed.imputed, ~given.any(axis=-1))
    assert completed.imputed[7].all()


@torch.inference_mode()
def test_completed_joints_are_the_networks_relative_to_the_root(artifact: Artifact):
    sequence = person(9, missing=0.3)
    relative = (sequence.joints - sequence.joints[:, :1]) / 0.5
    poses = artifact.lifter(torch.from_numpy(relative[None]).float()).answer[0].numpy() * 0.5
    missing = sequence.missing
    expected = (sequence.joints[:, :1] + poses)[missing]
    np.testing.assert_allclose(complete(artifact, sequence).joints[missing], expected, atol=SAME_POSES_M)


@pytest.mark.parametrize("mirrored_average", [False, True])
def test_the_origin_of_the_poses_does_not_matter(artifact: Artifact, mirrored_average: bool):
    sequence, away = person(30, missing=0.3), np.array([2.0, -1.0, 30.0])
    moved = replace(sequence, joints=sequence.joints + away)
    here, there = (complete(artifact, one, mirrored_average=mirrored_average).joints for one in (sequence, moved))
    np.testing.assert_allclose(there, here + away, atol=SAME_POSES_M)


def test_the_mirrored_average_of_a_mirrored_person_is_mirrored(artifact: Artifact):
    sequence = person(30, missing=0.3)
    reflection = replace(sequence, joints=mirror(sequence.joints, H36M))
    averaged, plain = (
        [complete(artifact, one, mirrored_average=average).joints for one in (sequence, reflection)]
        for average in (True, False)
    )
    np.testing.assert_allclose(averaged[1], mirror(averaged[0], H36M), atol=SAME_POSES_M)
    assert np.abs(plain[1] - mirror(plain[0], H36M)).max() > 100 * SAME_POSES_M


def test_a_missing_root_is_interpolated_between_known_ones(artifact: Artifact):
    sequence = person(12)
    sequence.joints[:, 0] = np.linspace((0, 0, 0), (11, 0, 22), 12)
    whole = sequence.joints[:, 0].copy()
    sequence.joints[[0, 4, 5, 6, 11], 0] = np.nan
    completed = complete(artifact, sequence)
    np.testing.assert_allclose(completed.joints[1:11, 0], whole[1:11], atol=1e-9)
    np.testing.assert_array_equal(completed.joints[[0, 11], 0], whole[[1, 10]])
    assert completed.imputed[[0, 4, 5, 6, 11], 0].all()
    assert not completed.imputed[1, 0]


def test_targets_are_completed_as_in_the_whole_sequence(artifact: Artifact):
    sequence, targets = person(40, missing=0.3), np.array([3, 20, 39])
    whole = complete(artifact, sequence)
    prepared = prepare(sequence, artifact.manifest, targets)
    with torch.inference_mode():
        answers = artifact.lifter(torch.from_numpy(prepared.frames)[torch.from_numpy(prepared.index)]).answer
    poses = prepared.poses(answers.numpy() * np.float32(0.5), artifact.manifest).joints
    poses[:, 0] = 0
    np.testing.assert_allclose(fill(sequence, poses, targets), whole.joints[targets], atol=SAME_POSES_M)
    np.testing.assert_array_equal(prepared.imputed, whole.imputed[targets])


@pytest.mark.parametrize(("frames", "fps"), [(1, 50.0), (5, 25.0), (30, 30.0), (100, 120.0)])
def test_any_length_and_rate_is_accepted(artifact: Artifact, frames: int, fps: float):
    assert np.isfinite(complete(artifact, person(frames, fps, missing=0.2)).joints).all()


def without_root() -> NDArray[np.float64]:
    joints = np.zeros((5, 17, 3))
    joints[:, 0, 1] = np.nan
    return joints


@pytest.mark.parametrize(
    ("changes", "sentence", "path"),
    [
        ({"joints": np.zeros((5, 16, 3))}, r"\[frames, 17, 3\]", "poses"),
        ({"joints": np.zeros((0, 17, 3)), "times_s": np.zeros(0)}, "at least one frame", "poses"),
        ({"joints": np.full((5, 17, 3), np.inf)}, "finite", "poses"),
        ({"joints": without_root()}, "pelvis must be given in one frame", "poses"),
        ({"skeleton": skeleton("coco17")}, "no pelvis", "skeleton"),
    ],
)
def test_invalid_poses_are_refused(changes: dict[str, Any], sentence: str, path: str):
    with pytest.raises(InvalidPoses, match=sentence) as refusal:
        replace(person(5), **changes)
    assert refusal.value.path == path


def test_invalid_times_are_refused():
    with pytest.raises(InvalidKeypoints, match="increase"):
        replace(person(5), times_s=np.zeros(5))


def test_poses_of_another_skeleton_are_refused(artifact: Artifact):
    other = replace(person(5), skeleton=skeleton("mpi17"))
    with pytest.raises(InvalidPoses, match="poses of h36m17, not of mpi17") as refusal:
        complete(artifact, other)
    assert refusal.value.path == "skeleton"


def test_each_model_accepts_only_its_own_task(artifact: Artifact):
    with pytest.raises(InvalidArtifact, match="completing completes 3D poses; here one is needed that lifts"):
        lift(artifact, keypoints_of(5, 50))


def test_a_model_completes_in_one_skeleton(artifact: Artifact):
    with pytest.raises(ValueError, match="in the skeleton that they come in"):
        Manifest.model_validate(artifact.manifest.model_dump() | {"output_skeleton": "mpi17"})
