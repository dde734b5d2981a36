"""Files as detectors write them, of one clip whose positions are known (see `tests/data/README.md`)."""

from pathlib import Path

import numpy as np
import pytest

from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.skeletons import skeleton

REPOSITORY = Path(__file__).parents[4]
FILES = REPOSITORY / "tests" / "data" / "detectors"
COCO = skeleton("coco17")
# Positions are written with one decimal.
ROUNDED_PX = 0.051


@pytest.fixture(scope="module")
def known():
    """The clip's positions [F, 17, 2] in the order of coco17."""
    ((track,), _) = read_keypoints(REPOSITORY / "service" / "poselift_service" / "web" / "sample.json")
    return track.sequence.keypoints[..., :2]


def assert_positions(sequence, known, *, missing=()):
    """Check the joints that a sequence and the clip have in common, of which some are missing throughout."""
    joints = [joint for joint in COCO.joint_names if joint in sequence.skeleton.joint_names]
    assert len(joints) >= 12
    for joint in joints:
        given = sequence.keypoints[:, sequence.skeleton.joint_names.index(joint), :2]
        expected = known[: len(given), COCO.joint_names.index(joint)]
        expected = np.full_like(expected, np.nan) if joint in missing else expected
        np.testing.assert_allclose(given, expected, atol=ROUNDED_PX, err_msg=joint)


@pytest.mark.parametrize(
    ("name", "frames", "missing"),
    [
        ("zeros_with_scores.json", 30, ("left_elbow", "left_wrist", "left_ankle")),
        ("coco_results_0_0_1.json", 30, ("left_elbow", "left_wrist", "left_ankle")),
        ("nan.json", 5, ("left_wrist",)),
        ("nulls.json", 5, ("left_wrist",)),
    ],
)
def test_joints_that_were_not_detected_are_missing(known, name, frames, missing):
    ((track,), warnings) = read_keypoints(FILES / name, fps=60, image_size=(1080, 1920))
    assert track.sequence.keypoints.shape == (frames, 17, 3)
    assert_positions(track.sequence, known, missing=missing)
    assert not warnings
