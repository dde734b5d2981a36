"""MMPose's predictions."""

import pytest

from poselift.formats.readers.json.people import identity_of
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, SIZE, assert_keypoints, keypoints, mmpose


@pytest.mark.parametrize("bare", [False, True])
def test_mmpose_predictions(write, bare):
    document = mmpose(keypoints())
    ((_, sequence, *_),) = read_keypoints(
        write(document["instance_info"] if bare else document),
        skeleton="coco17" if bare else None,
        fps=FPS,
        image_size=SIZE,
    ).tracks
    assert sequence.skeleton.name == "coco17"
    assert_keypoints(sequence, keypoints())


def test_an_identity_of_any_size_is_one():
    assert identity_of({"track_id": 10**400}, "instances[0]", ("track_id",)) == str(10**400)
