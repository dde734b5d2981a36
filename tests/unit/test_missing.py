"""Which joints were not detected, and scores slightly outside of their range."""

import numpy as np
import pytest

from poselift.missing import MISSING, hold_missing, mark_missing
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

COCO = skeleton("coco17")


def _detected(frames=3):
    keypoints = np.random.default_rng(0).uniform(1, 400, (frames, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 0.75
    return keypoints


@pytest.mark.parametrize(
    "joint",
    [
        (0, 0, 0),
        (0, 0, 0.37),
        (0, 0, 1),
        (0.0, -0.0, 2),
        (-1, -1, 0),
        (-1, -1, 0.9),
        (-1, -1, -1),
        (np.nan, np.nan, 0),
        (np.nan, 5, 1),
        (5, np.nan, 1),
        (5, 6, np.nan),
        (5, 6, -0.02),
        (5, 6, -1),
    ],
)
def test_joints_that_were_not_detected(joint):
    keypoints = _detected()
    keypoints[1, 4] = joint
    expected = _detected()
    expected[1, 4] = MISSING
    np.testing.assert_array_equal(mark_missing(keypoints), expected)
    np.testing.assert_array_equal(mark_missing(keypoints.astype(np.float64)), expected.astype(np.float64))
    np.testing.assert_array_equal(Sequence(keypoints, COCO, 640, 480, Sequence.times_at(30, 3)).keypoints, expected)
    np.testing.assert_array_equal(keypoints[1, 4], np.float32(joint))  # the caller's array is as it was


@pytest.mark.parametrize(
    "joint", [(0, 5, 1), (5, 0, 1), (0, -1, 1), (-1, 0, 1), (-5, -5, 1), (0.25, 0.25, 0), (1, 1, 1)]
)
def test_joints_that_were_detected(joint):
    keypoints = _detected()
    keypoints[1, 4] = joint
    np.testing.assert_array_equal(mark_missing(keypoints), keypoints)


def test_scores_slightly_above_one_are_clipped():
    keypoints = _detected()
    keypoints[1, 4, 2], keypoints[2, 0, 2] = 1.3, 10
    expected = _detected()
    expected[1, 4, 2] = expected[2, 0, 2] = 1
    np.testing.assert_array_equal(mark_missing(keypoints), expected)


def test_nothing_is_copied_where_nothing_is_missing():
    keypoints = _detected()
    assert mark_missing(keypoints) is keypoints
    assert mark_missing(keypoints[:0]).shape == (0, 17, 3)


def test_holding_uses_only_past_frames():
    screen = np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float32)
    screen[0, 0], screen[2:4, 1], screen[5] = np.nan, np.nan, np.nan
    held = hold_missing(screen)
    np.testing.assert_allclose(held[0, 0], screen[0, 1:].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(held[2:4, 1], screen[[1, 1], 1])
    np.testing.assert_array_equal(held[5], held[4])
    for frames in range(1, 6):
        np.testing.assert_array_equal(hold_missing(screen[:frames]), held[:frames])
    assert (hold_missing(np.full((2, 3, 2), np.nan, np.float32)) == 0).all()
