"""Files as detectors write them, of one clip whose positions are known (see `tests/data/README.md`)."""

from pathlib import Path

import numpy as np
import pytest

from poselift.errors import InvalidFile
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


def assert_positions(sequence, known, *, missing=(), atol=ROUNDED_PX):
    """Check the joints that a sequence and the clip have in common, of which some are missing throughout."""
    joints = [joint for joint in COCO.joint_names if joint in sequence.skeleton.joint_names]
    assert len(joints) >= 12
    for joint in joints:
        given = sequence.keypoints[:, sequence.skeleton.joint_names.index(joint), :2]
        expected = known[: len(given), COCO.joint_names.index(joint)]
        expected = np.full_like(expected, np.nan) if joint in missing else expected
        np.testing.assert_allclose(given, expected, atol=atol, err_msg=joint)


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


@pytest.mark.parametrize(
    ("name", "frames", "skeleton"),
    [
        ("openpose_coco18", 5, "coco18"),
        ("pose2sim_halpe26", 5, "halpe26"),
        ("ultralytics.json", 20, "coco17"),
        ("coco_annotations.json", 30, "coco17"),
        ("mmpose_wholebody133.json", 3, "wholebody133"),
        ("browser_poses.json", 20, "coco17"),
        ("image_size_as_floats.json", 5, "coco17"),
    ],
)
def test_files_are_read_with_the_right_positions(known, name, frames, skeleton):
    has_a_size = name in ("coco_annotations.json", "image_size_as_floats.json")
    ((track,), warnings) = read_keypoints(FILES / name, fps=60, image_size=None if has_a_size else (1080, 1920))
    assert track.sequence.skeleton.name == skeleton
    assert len(track.sequence.keypoints) == frames
    assert (track.sequence.width_px, track.sequence.height_px) == (1080, 1920)
    assert_positions(track.sequence, known, atol=0.55 if name == "coco_annotations.json" else ROUNDED_PX)
    assert not warnings


def test_identities_that_everybody_shares_are_none(known):
    tracks, _ = read_keypoints(FILES / "alphapose_all_idx_0.json", fps=30, image_size=(1920, 1080))
    assert len(tracks) == 2
    assert_positions(tracks[0].sequence, known)
    shifted = tracks[1].sequence.keypoints[..., 0] - tracks[0].sequence.keypoints[..., 0]
    np.testing.assert_allclose(shifted, 500, atol=2 * ROUNDED_PX)


def test_the_broken_file_of_a_folder_is_named():
    with pytest.raises(
        InvalidFile, match=r"openpose_last_cut_off: clip_000000000009_keypoints\.json: it is not JSON from"
    ):
        read_keypoints(FILES / "openpose_last_cut_off", fps=60, image_size=(1080, 1920))
