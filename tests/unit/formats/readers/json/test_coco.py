"""COCO results, and AlphaPose's."""

import pytest

from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, SIZE, assert_keypoints, coco_results, keypoints, with_holes


@pytest.mark.parametrize(("joints", "skeleton"), [(17, "coco17"), (26, "halpe26")])
def test_coco_results(write, joints, skeleton):
    detected = with_holes(keypoints(joints))
    ((track_id, sequence, *_),) = read_keypoints(write(coco_results(detected)), fps=FPS, image_size=SIZE).tracks
    assert track_id is None
    assert sequence.skeleton.name == skeleton
    assert_keypoints(sequence, detected)


def test_alphapose_tracks(write):
    first, second = keypoints(), keypoints(seed=1)
    document = coco_results(first, idx=1) + coco_results(second, idx=[2.0])
    tracks = read_keypoints(write(document), fps=FPS, image_size=SIZE).tracks
    assert [track_id for track_id, *_ in tracks] == ["1", "2"]
    assert_keypoints(tracks[1].sequence, second)


def test_coco_results_with_names(write):
    document = coco_results(keypoints(), track_id="left") + coco_results(keypoints(seed=1), track_id="right")
    tracks = read_keypoints(write(document), fps=FPS, image_size=SIZE).tracks
    assert [track_id for track_id, *_ in tracks] == ["left", "right"]
