"""NumPy archives of keypoints."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.formats.readers.pose_file import read_poses
from tests.unit.formats.readers.detector_files import FPS, FRAMES, SIZE, assert_keypoints, keypoints, with_holes


def test_arrays(tmp_path):
    detected = with_holes(keypoints())
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=detected, skeleton="coco17", fps=FPS, image_size=[640, 480])
    ((_, sequence, *_),) = read_keypoints(path).tracks
    assert_keypoints(sequence, detected)
    np.savez(path, kpts=detected[..., :2])
    ((_, sequence, *_),) = read_keypoints(path, skeleton="coco17", fps=FPS, image_size=SIZE).tracks
    np.testing.assert_allclose(sequence.keypoints[..., :2], detected[..., :2], atol=1e-4)


def test_a_pickle_in_an_archive_is_never_opened(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidFile, match="must be numbers"):
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
    assert_keypoints(read_keypoints(tmp_path / "a.npz").tracks[0].sequence, keypoints())
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("keypoints", "1 2 3")
    with pytest.raises(InvalidFile, match="no array keypoints"):
        read_keypoints(tmp_path / "b.npz")


def test_times_that_are_not_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), timestamps_s=["noon"] * FRAMES, skeleton="coco17")
    with pytest.raises(InvalidFile, match="must be numbers of seconds"):
        read_keypoints(tmp_path / "a.npz", image_size=SIZE)


def write_member(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(f"{name}.npy", content)


def npy(header: str) -> bytes:
    """An array's file with a header of our own and no numbers."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


BROKEN = {
    "more than any memory": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 17000, 3), }\n"),
    "a bracket that is not closed": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,\n"),
    "nested": npy("(" * 9000),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n"),
    "no array": b"text",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_array_is_refused_in_a_sentence(tmp_path, content):
    write_member(tmp_path / "a.npz", "keypoints", BROKEN[content])
    with pytest.raises(InvalidFile, match=r"no array of numbers|it holds a pickle") as refusal:
        read_keypoints(tmp_path / "a.npz")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("read", [read_keypoints, read_poses])
def test_arrays_that_are_not_needed_are_not_read(tmp_path, read):
    path = tmp_path / "a.npz"
    np.savez(path, keypoints=keypoints(), poses=np.zeros((2, 17, 3)), skeleton="coco17", fps=FPS, image_size=SIZE)
    write_member(path, "other", BROKEN["more than any memory"])
    write_member(path, "objects", BROKEN["objects"])
    assert read(path, skeleton="coco17" if read is read_keypoints else "h36m17")


@pytest.mark.parametrize(("limit", "most"), [("_MAX_BYTES", 10**6), ("MAX_NUMBERS", 10**6)])
def test_a_small_archive_does_not_unpack_to_gigabytes(tmp_path, monkeypatch, limit, most):
    monkeypatch.setattr(f"poselift.formats.readers.archives.archive.{limit}", most)
    np.savez_compressed(tmp_path / "a.npz", keypoints=np.zeros((20_000, 17, 3), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(InvalidFile, match=f"more than the {most}"):
        read_keypoints(tmp_path / "a.npz")


def test_a_value_that_is_a_large_array_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), fps=np.zeros(10**6), skeleton="coco17", image_size=SIZE)
    with pytest.raises(InvalidFile, match="fps must be one value"):
        read_keypoints(tmp_path / "a.npz")


def test_a_value_is_not_read_to_see_that_it_is_a_large_array(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", image_size=SIZE)
    write_member(tmp_path / "a.npz", "fps", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (900000000,), }\n"))
    with pytest.raises(InvalidFile, match=r"fps must be one value, not float64 \[900000000\]"):
        read_keypoints(tmp_path / "a.npz")


def test_a_name_in_a_warning_is_shown_in_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", fps=FPS, image_size=SIZE)
    write_member(
        tmp_path / "a.npz", "one\ntwo\x1b[31m", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n")
    )
    (warning,) = read_keypoints(tmp_path / "a.npz").warnings
    assert warning.message == "the array one two [31m was not used."


def test_a_name_with_a_line_break_is_shown_in_one_line(tmp_path):
    write_member(
        tmp_path / "a.npz", "one\ntwo\x1b[31m", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n")
    )
    with pytest.raises(InvalidFile, match=r"only: one two \[31m\.$"):
        read_keypoints(tmp_path / "a.npz")
