"""Keypoints of the caller to lists."""

import numpy as np
import pytest

from poselift.client.arrays import frame_of, frames_of

MISSING = float("nan")


def test_arrays_and_lists_give_the_same():
    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    assert frames_of(points) == frames_of(points.tolist()) == frames_of(list(points)) == points.tolist()


def test_a_joint_with_a_missing_number_is_missing_and_a_frame_of_these_too():
    assert frame_of([[1, 2, 3], [1, MISSING, 3], [1, None, 3], None]) == [[1, 2, 3], None, None, None]
    assert frames_of([[[MISSING, 1, 1]], None]) == [None, None]


def test_what_is_sent_does_not_change_with_the_array_of_the_caller():
    points = np.ones((1, 3))
    frame = frame_of(points)
    points[:] = 5
    assert frame == [[1, 1, 1]]


@pytest.mark.parametrize("value", ["keypoints", 5, [[1, 2], 3]])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(ValueError, match="an array or a list"):
        frame_of(value)
