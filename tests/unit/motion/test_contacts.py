import numpy as np
import pytest

from poselift.motion.contacts import _LIVE_CONSTANT, _WEIGHTS, _feature_rows, foot_contacts, live_odds
from tests.unit.motion.rig_poses import recorded
from tests.unit.motion.walkers import LEFT, RIGHT, shaken, standing, walker


def f1(told, true):
    return 2 * (told & true).sum() / (told.sum() + true.sum())


@pytest.mark.parametrize("fps", [25.0, 30.0, 50.0, 120.0])
def test_steps_of_a_walk_are_told(fps):
    times, poses, stands = walker(fps=fps)
    contacts = foot_contacts(poses, times)
    assert contacts.shape == (len(times), 2)
    assert f1(contacts > 0.5, stands) > 0.95


@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_errors_like_those_of_lifted_poses_are_survived(fps):
    times, poses, stands = walker(fps=fps)
    assert f1(foot_contacts(shaken(poses, fps, 0.015), times) > 0.5, stands) > 0.9


def test_left_is_left():
    times, poses, stands = walker()
    contacts = foot_contacts(poses, times)
    assert contacts[stands[:, 0] & ~stands[:, 1], 0].mean() > 0.8
    assert contacts[stands[:, 0] & ~stands[:, 1], 1].mean() < 0.2


def test_a_foot_that_is_held_up_is_no_contact():
    poses = standing(150)
    poses[:, LEFT, 1] += 0.3
    poses[:, LEFT, 0] += 0.05 * np.sin(np.arange(150) / 5)
    contacts = foot_contacts(poses, np.arange(150) / 50)
    assert contacts[:, 0].max() < 0.5 < contacts[:, 1].min()


def test_a_tilted_floor_and_a_drift_upwards_do_no_harm():
    times, poses, stands = walker()
    poses[..., 1] += 0.08 * poses[..., 2]  # five degrees
    assert f1(foot_contacts(poses, times) > 0.5, stands) > 0.9


def test_states_last():
    times, poses, stands = walker()
    contacts = foot_contacts(shaken(poses, 50, 0.02), times) > 0.5
    changes = np.abs(np.diff(contacts.astype(int), axis=0)).sum()
    assert changes <= 1.5 * np.abs(np.diff(stands.astype(int), axis=0)).sum()


def test_feet_above_the_pelvis_touch_nothing():
    poses = standing(100)
    poses[:, :, 1] *= -1
    assert foot_contacts(poses, np.arange(100) / 50).max() < 0.1


def test_uneven_times_count():
    times, poses, stands = walker(fps=100.0)
    kept = np.sort(np.random.default_rng(0).choice(len(times), len(times) // 2, replace=False))
    assert f1(foot_contacts(poses[kept], times[kept]) > 0.5, stands[kept]) > 0.9


def test_steps_of_a_recorded_dance_are_where_ankles_rest():
    poses = recorded()
    contacts = foot_contacts(poses, np.arange(len(poses)) / 50)
    ankles = poses[:, [LEFT, RIGHT]]
    speed = np.linalg.norm(np.gradient(ankles, 1 / 50, axis=0), axis=-1)
    assert np.median(speed[contacts > 0.5]) < 0.3 < np.median(speed[contacts < 0.5])


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_may_be_short(frames):
    contacts = foot_contacts(standing(frames), np.arange(frames) / 50)
    assert contacts.shape == (frames, 2)
    assert np.isfinite(contacts).all()


def test_a_live_frame_is_told_by_what_a_clip_is_told_by():
    random = np.random.default_rng(1)
    velocity, travel, height = random.normal(0, 1, (50, 2, 3)), random.normal(0, 1, (50, 2)), random.random((50, 2))
    expected = _feature_rows(velocity, travel[:, None], height) @ _WEIGHTS + _LIVE_CONSTANT
    for row in range(50):
        left, right = velocity[row].tolist()
        x, z = travel[row].tolist()
        np.testing.assert_allclose(live_odds(left, right, (x, z), *height[row].tolist()), expected[row])
