"""NumPy archives of keypoints."""

import zipfile

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, FRAMES, SIZE, assert_keypoints, keypoints, with_holes


def test_arrays(tmp_path):
    detected = with_holes(keypoints())
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=detected, skeleton="coco17", fps=FPS, image_size=[640, 480])
    ((_, sequence, *_),) = read_keypoints(path)
    assert_keypoints(sequence, detected)
    np.savez(path, kpts=detected[..., :2])
    ((_, sequence, *_),) = read_keypoints(path, skeleton="coco17", fps=FPS, image_size=SIZE)
    np.testing.assert_allclose(sequence.keypoints[..., :2], detected[..., :2], atol=1e-4)


def test_a_pickle_in_an_archive_is_never_opened(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidFile, match="plain arrays"):
        read_keypoints(path)


def test_arrays_of_a_wrong_shape(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=np.zeros((17, 3)))
    with pytest.raises(InvalidFile, match=r"keypoints must be numbers \[frames, joints, 2 or 3\]"):
        read_keypoints(path)


def test_other_members_of_an_archive_are_ignored(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", fps=FPS, image_size=SIZE)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", "Recorded in June.")
    assert_keypoints(read_keypoints(tmp_path / "a.npz")[0].sequence, keypoints())
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("keypoints", "1 2 3")
    with pytest.raises(InvalidFile, match="no array keypoints"):
        read_keypoints(tmp_path / "b.npz")


def test_times_that_are_not_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), timestamps_s=["noon"] * FRAMES, skeleton="coco17")
    with pytest.raises(InvalidFile, match="must be numbers of seconds"):
        read_keypoints(tmp_path / "a.npz", image_size=SIZE)
