import numpy as np
import pytest

from poselift.motion.bones import bone_lengths
from poselift.motion.foot_locking import FARTHEST_JOINT_M, LEGS, bend_legs
from poselift.motion.live.feet import NO_FEET, advance_feet
from poselift.motion.live.leg import bend_leg, settle
from tests.unit.motion.walkers import LEFT, RIGHT, STANDING_ANKLE_M, shaken, standing, walker

FEET = [LEFT, RIGHT]


def streamed(poses, times, mode="auto"):
    """Contacts [F, 2] and poses [F, 17, 3] of a stream."""
    state, contacts, shown = NO_FEET, [], []
    for pose, time_s in zip(poses, times, strict=True):
        state, told, locked = advance_feet(state, pose, time_s, mode, STANDING_ANKLE_M)
        contacts.append(told)
        shown.append(locked)
    return np.array(contacts), np.array(shown)


@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_steps_are_told_from_the_past_alone(fps):
    times, poses, stands = walker(fps=fps)
    told = streamed(shaken(poses, fps, 0.01), times)[0] > 0.5
    assert 2 * (told & stands).sum() / (told.sum() + stands.sum()) > 0.8


def test_feet_that_stand_are_held_and_bones_stay():
    times = np.arange(200) / 50
    seen = shaken(standing(200), 50, 0.01)
    _, shown = streamed(seen, times)
    slides = [np.median(np.linalg.norm(np.diff(each[:, FEET, ::2], axis=0), axis=-1)) for each in (seen, shown)]
    assert slides[1] < 0.2 * slides[0]
    np.testing.assert_allclose(bone_lengths(shown), bone_lengths(seen), atol=1e-9)
    moved = np.linalg.norm((shown - shown[:, :1]) - (seen - seen[:, :1]), axis=-1)
    assert 0 < moved.max() <= FARTHEST_JOINT_M + 1e-9


def test_nothing_jumps_when_a_foot_is_taken_or_let_go():
    times, poses, _ = walker()
    seen = shaken(poses, 50, 0.01)
    _, shown = streamed(seen, times)
    steps = [np.linalg.norm(np.diff(each[:, FEET], axis=0), axis=-1).max() for each in (seen, shown)]
    assert steps[1] < 1.3 * steps[0]


def test_the_person_is_moved_without_jumps_of_the_speed():
    times, poses, _ = walker()
    poses += np.array([0.02, 0.0, 0.05]) * np.sin(2 * times)[:, None, None]  # the path drifts, so feet seem to slide
    _, shown = streamed(poses, times)
    shift = (shown - poses)[:, 0]
    assert np.ptp(shift, axis=0).max() > 0.01
    assert np.abs(np.diff(shift, 2, axis=0)).max() < 0.0006


def test_an_offset_settles_beginning_with_its_speed():
    offset, speed = [0.1, 0.0, 0.0], [0.0, 0.5, 0.0]
    soon, _ = settle(offset, speed, 20.0, 1e-4)
    np.testing.assert_allclose(np.subtract(soon, offset) / 1e-4, speed, atol=0.02)
    left, slower = settle(offset, speed, 20.0, 0.15)
    assert left[0] == pytest.approx(0.02, abs=1e-3)
    np.testing.assert_allclose(settle(*settle(offset, speed, 20.0, 0.1), 20.0, 0.05), (left, slower), atol=1e-12)


def test_off_shows_what_is_seen_and_still_tells_contacts():
    times, poses, _ = walker(seconds=1.0)
    contacts, shown = streamed(poses, times, "off")
    np.testing.assert_array_equal(shown, poses)
    assert np.ptp(contacts) > 0.5


def test_grounding_lowers_a_person_who_floats():
    poses = standing(150)
    poses[..., 1] += 0.2
    _, shown = streamed(poses, np.arange(150) / 50, "grounding")
    assert shown[-1, FEET, 1].min() == pytest.approx(STANDING_ANKLE_M, abs=0.005)


def test_the_past_is_forgotten():
    state = NO_FEET
    for frame, pose in enumerate(standing(200)):
        state, *_ = advance_feet(state, pose, frame / 50, "auto", STANDING_ANKLE_M)
    assert len(state.recent) == len(state.times_s) <= 32


def test_legs_of_one_frame_bend_as_those_of_a_clip():
    random = np.random.default_rng(0)
    poses = shaken(standing(200), 50, 0.05)
    shifts = random.normal(0, 0.05, (200, 2, 3))
    expected = bend_legs(poses.copy(), shifts)
    for pose, shift, bent in zip(poses, shifts, expected, strict=True):
        for foot in range(2):
            hip, knee, ankle = pose[LEGS[foot]].tolist()
            found = bend_leg(hip, knee, ankle, shift[foot].tolist())
            np.testing.assert_allclose(found, bent[LEGS[foot, 1:]], atol=1e-7)  # a root of nearly 0, if straight
