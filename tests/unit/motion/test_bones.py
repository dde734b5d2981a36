import numpy as np
import pytest

from poselift.motion.bones import bone_lengths, constant_bones, running_bones, stature, with_bones
from tests.unit.motion.rig_poses import H36M, recorded


@pytest.fixture(scope="module")
def dance():
    return recorded()


def noisy(poses, sd_m, seed=0):
    return poses + np.random.default_rng(seed).normal(0, sd_m, poses.shape)


def test_bones_are_the_same_in_all_frames(dance):
    poses, bones = constant_bones(noisy(dance, 0.02))
    assert bone_lengths(poses).std(axis=0).max() < 1e-12
    np.testing.assert_allclose(bone_lengths(poses)[0], bones, atol=1e-12)
    assert bones[0] == 0


def test_directions_and_pelvis_stay(dance):
    given = noisy(dance, 0.02)
    poses, _ = constant_bones(given)
    np.testing.assert_array_equal(poses[:, 0], given[:, 0])
    parents = list(H36M.parents[1:])
    before, after = given[:, 1:] - given[:, parents], poses[:, 1:] - poses[:, parents]
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    np.testing.assert_allclose(cosine, 1, atol=1e-12)


def test_true_poses_hardly_move(dance):
    poses, _ = constant_bones(dance)  # the recording's own neck bends a little
    assert np.median(np.linalg.norm(poses - dance, axis=-1)) < 0.002


def test_frames_that_are_off_do_not_count(dance):
    given = dance.copy()
    given[:20] *= 1.5
    _, bones = constant_bones(given)
    np.testing.assert_allclose(bones, constant_bones(dance)[1], atol=0.006)


def test_weights_decide(dance):
    given = dance.copy()
    given[:40] *= 1.5  # most frames
    weights = np.ones(given.shape[:2])
    weights[:40] = 0.01
    _, bones = constant_bones(given, weights)
    np.testing.assert_allclose(bones, constant_bones(dance)[1], atol=0.006)


def test_a_joint_without_any_weight_still_has_a_bone(dance):
    weights = np.ones(dance.shape[:2])
    weights[:, H36M.joint_names.index("head")] = 0
    poses, bones = constant_bones(dance, weights)
    np.testing.assert_allclose(bones, constant_bones(dance)[1], atol=0.006)
    assert np.isfinite(poses).all()


def test_a_bone_without_direction_keeps_its_length(dance):
    given = dance.copy()
    given[3, 1] = given[3, 0]
    poses, bones = constant_bones(given)
    np.testing.assert_allclose(bone_lengths(poses)[3], bones, atol=1e-12)


def test_stature_is_about_that_of_the_recorded_person(dance):
    _, bones = constant_bones(dance)
    head = np.median(dance[:, H36M.joint_names.index("head"), 1])
    assert stature(bones) == pytest.approx(head + 0.03, rel=0.03)


def test_stature_is_proportional_to_the_bones(dance):
    _, bones = constant_bones(dance)
    scale = 1.8 / stature(bones)
    assert stature(bone_lengths(with_bones(dance, bones * scale))[0]) == pytest.approx(1.8)


def test_bones_of_a_stream_come_to_those_of_the_clip(dance):
    frames = noisy(np.tile(dance, (6, 1, 1)), 0.01)
    frames[:3] *= 1.05
    frames[100] *= 3  # one frame is far off
    state, steps = None, []
    for frame in frames:
        state = running_bones(state, frame[None])
        steps.append(state[0])
    assert state is not None
    np.testing.assert_allclose(state[0], constant_bones(frames)[1], atol=0.004)
    assert np.abs(np.diff(steps[-50:], axis=0)).max() < 0.001
    np.testing.assert_allclose(running_bones(None, frames), state)
    np.testing.assert_allclose(bone_lengths(with_bones(frames[-1:], state[0]))[0], state[0], atol=1e-12)
