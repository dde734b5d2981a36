import numpy as np
import pytest

from poselift.motion.bones import bone_lengths
from poselift.motion.contacts import foot_contacts
from poselift.motion.foot_locking import FARTHEST_JOINT_M, FARTHEST_ROOT_M, lock_feet, two_bone_ik
from tests.unit.motion.rig_poses import recorded
from tests.unit.motion.walkers import LEFT, RIGHT, STANDING_ANKLE_M, shaken, standing, walker

FEET = [LEFT, RIGHT]
LEGS = [1, 2, 3, 4, 5, 6]


def slides_mm(poses, stands):
    steps = np.linalg.norm(np.diff(poses[:, FEET], axis=0)[..., [0, 2]], axis=-1) * 1000
    return steps[stands[1:] & stands[:-1]]


def jerk(poses):
    return np.linalg.norm(np.diff(poses, 3, axis=0), axis=-1).mean()


def off_root(poses):
    return poses - poses[:, :1]


@pytest.fixture(scope="module")
def film():
    """A walk, the same with errors of lifted poses, its contacts as told, and times."""
    times, poses, stands = walker()
    seen = shaken(poses, 50, 0.015)
    return times, poses, stands, seen, foot_contacts(seen, times)


def test_feet_that_stand_do_not_slide(film):
    times, _, stands, seen, contacts = film
    locked = lock_feet(seen, contacts, times, "auto")
    assert np.median(slides_mm(seen, stands)) > 4
    assert np.median(slides_mm(locked, stands)) < 0.8


def test_the_motion_gets_neither_rougher_nor_less_true(film):
    times, poses, _, seen, contacts = film
    locked = lock_feet(seen, contacts, times, "auto")
    assert jerk(locked) < 1.02 * jerk(seen)
    before, after = (np.linalg.norm(off_root(each) - off_root(poses), axis=-1).mean() for each in (seen, locked))
    assert after < 1.05 * before


def test_knees_of_straight_legs_do_not_tremble():
    times = np.arange(200) / 50
    straight = shaken(standing(200), 50, 0.002)
    locked = lock_feet(straight, np.ones((200, 2)), times, "auto")
    assert jerk(locked[:, LEGS]) < 1.02 * jerk(straight[:, LEGS])


@pytest.mark.parametrize("mode", ["auto", "always", "grounding", "off"])
def test_bones_stay_and_moves_are_bounded(film, mode):
    times, _, _, seen, contacts = film
    rough = seen + np.random.default_rng(1).normal(0, 0.05, (len(seen), 1, 3))
    rough[:, FEET] += np.random.default_rng(2).normal(0, 0.03, (len(seen), 2, 3))
    locked = lock_feet(rough, contacts, times, mode)
    np.testing.assert_allclose(bone_lengths(locked), bone_lengths(rough), atol=1e-9)
    moved = np.linalg.norm(off_root(locked) - off_root(rough), axis=-1)
    assert moved.max() <= FARTHEST_JOINT_M + 1e-9
    others = np.setdiff1d(np.arange(17), LEGS)
    assert moved[:, others].max() < 1e-9
    if mode == "auto":
        assert np.linalg.norm(locked[:, 0] - rough[:, 0], axis=-1).max() <= FARTHEST_ROOT_M
        assert moved.max() > 0.02


def test_off_changes_nothing(film):
    times, _, _, seen, contacts = film
    np.testing.assert_array_equal(lock_feet(seen, contacts, times, "off"), seen)


def test_true_motion_stays(film):
    times, poses, stands, *_ = film
    locked = lock_feet(poses, stands.astype(float), times, "auto")
    assert np.linalg.norm(locked - poses, axis=-1).mean() < 0.002


def test_a_person_who_jumps_is_grounded_on_request_only():
    times = np.arange(150) / 50
    poses = standing(150)
    poses[50:75, :, 1] += 0.3 * np.sin(np.linspace(0, np.pi, 25))[:, None]
    contacts = foot_contacts(poses, times)
    lower = [
        locked[:, FEET, 1].min(axis=1)
        for locked in (lock_feet(poses, contacts, times, "auto"), lock_feet(poses, contacts, times, "grounding"))
    ]
    assert lower[0].max() > STANDING_ANKLE_M + 0.25
    assert np.abs(lower[1] - STANDING_ANKLE_M).max() < 0.05


def test_always_holds_the_lower_foot_without_contacts(film):
    times, _, stands, seen, _ = film
    nothing = np.zeros((len(seen), 2))
    one = stands & ~stands[:, ::-1]
    assert np.median(slides_mm(lock_feet(seen, nothing, times, "auto"), one)) > 4
    assert np.median(slides_mm(lock_feet(seen, nothing, times, "always"), one)) < 2


def test_a_path_that_drifts_is_brought_back(film):
    times, *_ = film
    poses = standing(len(times))
    drifting = poses + np.array([0.1, 0, 0.1]) * np.sin(2 * np.pi * times / 3)[:, None, None]
    locked = lock_feet(drifting, np.ones((len(times), 2)), times, "auto")
    assert np.ptp(locked[:, 0], axis=0).max() < 0.5 * np.ptp(drifting[:, 0], axis=0).max()


@pytest.mark.parametrize("reach", [0.3, 0.7, 0.86, 2.0])
def test_legs_reach_for_targets_as_far_as_they_go(reach):
    hip, knee, ankle = np.array([[0.0, 1, 0]]), np.array([[0.0, 0.58, 0.1]]), np.array([[0.0, 0.16, 0]])
    target = hip + reach * np.array([[0.1, -0.9, 0.2]]) / np.linalg.norm([0.1, -0.9, 0.2])
    knees, ankles = two_bone_ik(hip, knee, ankle, target)
    thigh, shank = np.linalg.norm(knee - hip), np.linalg.norm(ankle - knee)
    assert np.linalg.norm(knees - hip) == pytest.approx(thigh, abs=1e-9)
    assert np.linalg.norm(ankles - knees) == pytest.approx(shank, abs=1e-9)
    assert np.linalg.norm(ankles - target) == pytest.approx(max(0, reach - thigh - shank), abs=1e-6)
    assert knees[0, 2] > hip[0, 2]


def test_a_recorded_dance_keeps_its_steps():
    poses = recorded()
    times = np.arange(len(poses)) / 50
    locked = lock_feet(poses, foot_contacts(poses, times), times)
    assert np.linalg.norm(locked - poses, axis=-1).mean() < 0.04
    assert jerk(locked) < 1.15 * jerk(poses)


@pytest.mark.parametrize("mode", ["auto", "always", "grounding"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_may_be_short(frames, mode):
    times = np.arange(frames) / 50
    locked = lock_feet(standing(frames), np.ones((frames, 2)), times, mode)
    np.testing.assert_allclose(locked, standing(frames), atol=1e-6)
