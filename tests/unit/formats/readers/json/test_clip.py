"""Clips with numbered frames."""

import pytest

from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, assert_keypoints, clip, keypoints, with_holes


def test_a_clip_in_any_order_with_a_missing_frame(write):
    detected = with_holes(keypoints())
    document = clip(detected)
    document["frames"] = [document["frames"][number] for number in (3, 0, 1)]
    ((_, sequence, *_),) = read_keypoints(write(document)).tracks
    assert_keypoints(sequence, detected)
    assert sequence.times_s[-1] == pytest.approx(3 / FPS)
