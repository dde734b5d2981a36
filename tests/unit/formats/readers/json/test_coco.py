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


@pytest.mark.parametrize(
    ("idx", "expected"), [([[3]], "3"), ("left", "left"), (["left"], "left"), (-1, None), ([], None), ([1, 2], None)]
)
def test_identities_in_any_form(write, idx, expected):
    ((track,), _) = read_keypoints(write(coco_results(keypoints(), idx=idx)), fps=FPS, image_size=SIZE)
    assert track.track_id == expected


@pytest.mark.parametrize("image_id", ["{}", "{}.jpg", "video_000_{:06}.png", "a/b 2/{}"])
def test_pictures_named_by_texts(write, image_id):
    document = [entry | {"image_id": image_id.format(index)} for index, entry in enumerate(coco_results(keypoints()))]
    ((track,), _) = read_keypoints(write(document), fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, keypoints())
