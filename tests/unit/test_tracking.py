"""Telling people apart over time."""

import numpy as np
import pytest

from poselift.tracking import MAX_GAP, follow, keep_order

BODY = np.random.default_rng(0).uniform((-40, -150), (40, 150), size=(17, 2))
NOBODY = np.empty((0, 17, 2))


def walker(start_px, speed_px, frames, height_px=500):
    """Positions [F, 17, 2] of somebody who walks along a row of the picture, with a detector's noise."""
    noise = np.random.default_rng(start_px).normal(scale=4, size=(frames, 17, 2))
    centres = np.stack([start_px + speed_px * np.arange(frames), np.full(frames, height_px)], axis=-1)
    return BODY + centres[:, None] + noise


def shuffled(frames):
    """The people of each frame in an order that changes, and who is where in it."""
    draws = np.random.default_rng(7)
    orders = [draws.permutation(len(people)) for people in frames]
    return [people[order] for people, order in zip(frames, orders, strict=True)], orders


def test_two_people_who_cross_keep_their_numbers():
    right, left = walker(200, 12, 100), walker(1400, -12, 100, height_px=520)
    people, orders = shuffled(list(np.stack([right, left], axis=1)))
    numbers = follow(people)
    first = np.argsort(orders[0])  # the numbers that the two got in the first frame
    for here, order in zip(numbers, orders, strict=True):
        assert [here[place] for place in np.argsort(order)] == first.tolist()


def test_somebody_hidden_while_crossing_is_the_same_afterwards():
    right, left = walker(200, 12, 100), walker(1400, -12, 100, height_px=520)
    frames = [np.stack([right[frame], left[frame]]) for frame in range(100)]
    for frame in range(45, 57):  # behind the other one
        frames[frame] = frames[frame][:1]
    assert follow(frames) == [[0, 1] if len(people) == 2 else [0] for people in frames]


def test_a_new_person_gets_a_new_number():
    here, far = walker(200, 1, 20), walker(1500, 1, 20)
    frames = [here[frame : frame + 1] if frame < 8 else np.stack([far[frame], here[frame]]) for frame in range(20)]
    assert follow(frames) == [[0]] * 8 + [[1, 0]] * 12


@pytest.mark.parametrize(("gap", "number"), [(MAX_GAP, 0), (MAX_GAP + 1, 1)])
def test_the_gap_is_bounded(gap, number):
    still = walker(500, 0, 2)
    assert follow([still[:1], *[NOBODY] * (gap - 1), still[1:]])[-1] == [number]


def test_missing_joints_and_nobody():
    people = walker(500, 1, 4)[:, None]
    people[1, 0, 3:] = np.nan
    people[2] = np.nan
    assert follow(list(people)) == [[0], [0], [1], [0]]
    assert follow([NOBODY, NOBODY]) == [[], []]
    assert follow([]) == []


def test_shares_of_the_picture_are_followed_as_pixels_are():
    frames = np.stack([walker(200, 3, 20), walker(600, -3, 20)], axis=1)
    assert follow(list(frames / 1920)) == follow(list(frames))


def test_people_of_one_joint_who_are_far_apart():
    """Their size is 0, and what is divided by it overflows."""
    points = np.full((2, 17, 2), np.nan)
    points[:, 3] = [[1e6, 1e6], [-1e6, -1e6]]
    assert follow([points, points[::-1]]) == [[0, 1], [1, 0]]


def test_order_is_kept_by_whoever_stays_nearest_to_their_last_position():
    both = np.stack([walker(200, 2, 30), walker(800, 2, 30)], axis=1)
    assert keep_order(both)
    away = both.copy()
    away[10:20, 1] = np.nan
    assert keep_order(away)
    for swapped in (both, away):
        swapped[25] = swapped[25, ::-1]
        assert not keep_order(swapped)
