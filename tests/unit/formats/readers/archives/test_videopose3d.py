"""VideoPose3D's archives, whose object arrays are read without running their pickles."""

import os
import zipfile
from io import BytesIO

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, SIZE, keypoints

METADATA = {
    "layout_name": "coco",
    "num_joints": 17,
    "keypoints_symmetry": [[1, 3], [2, 4]],
    "video_metadata": {"a.mp4": {"w": 640, "h": 480}},
}


def save(path, positions, metadata=METADATA):
    """As `prepare_data_2d_custom.py` does."""
    np.savez_compressed(path, positions_2d=np.array(positions, dtype=object), metadata=np.array(metadata, dtype=object))
    return path


def test_the_archive_of_a_video(data, sample):
    ((track_id, sequence, first_frame),), warnings = read_keypoints(data / "videopose3d_custom.npz", fps=60)
    assert (track_id, first_frame, warnings) == (None, 0, ())
    assert sequence.skeleton.name == "coco17"
    assert (sequence.width_px, sequence.height_px) == (1080, 1920)
    assert sequence.times_s[-1] == pytest.approx(29 / 60)
    np.testing.assert_allclose(sequence.keypoints[..., :2], sample[:30, :, :2], atol=0.06)
    assert (sequence.keypoints[..., 2] == 1).all()


def test_arguments_override_the_metadata(tmp_path):
    path = save(tmp_path / "a.npz", {"a.mp4": {"custom": [keypoints()[..., :2]]}})
    ((_, sequence, _),), _ = read_keypoints(path, fps=FPS, image_size=(100, 200), skeleton="h36m17")
    assert (sequence.skeleton.name, sequence.width_px) == ("h36m17", 100)


@pytest.mark.parametrize("metadata", [{}, None, [], {"layout_name": 3, "video_metadata": {"a.mp4": None}}])
def test_without_metadata_the_user_says_what_is_missing(tmp_path, metadata):
    path = save(tmp_path / "a.npz", {"a.mp4": {"custom": [keypoints()[..., :2]]}}, metadata)
    tracks, _ = read_keypoints(path, fps=FPS, image_size=SIZE, skeleton="coco17")
    np.testing.assert_allclose(tracks[0].sequence.keypoints[..., :2], keypoints()[..., :2])
    with pytest.raises(InvalidFile, match="--image-size"):
        read_keypoints(path, fps=FPS, skeleton="coco17")


POSITIONS = keypoints()[..., :2]


@pytest.mark.parametrize(
    ("positions", "complaint"),
    [
        ({"a.mp4": {"custom": [POSITIONS]}, "b.mp4": {"custom": [POSITIONS]}}, r"2 videos: a.mp4, b.mp4.*np.savez\("),
        ({"S1": {"Walking": [POSITIONS], "Eating": [POSITIONS]}}, "2 recordings of S1: Walking, Eating"),
        ({"S1": {"Walking": [POSITIONS] * 4}}, "4 arrays of S1"),
        ({}, "must be a dictionary"),
        ([POSITIONS], "must be a dictionary"),
        ({"a.mp4": [POSITIONS]}, "must be a dictionary"),
        ({"a.mp4": {"custom": []}}, "must be a list of arrays"),
        ({"a.mp4": {"custom": POSITIONS}}, "must be a list of arrays"),
        ({"a.mp4": {"custom": [POSITIONS[0]]}}, r"array of numbers \[frames, joints, 2\]"),
        ({"a.mp4": {"custom": ["text"]}}, r"array of numbers \[frames, joints, 2\]"),
    ],
)
def test_what_is_no_single_video_is_refused(tmp_path, positions, complaint):
    with pytest.raises(InvalidFile, match=complaint) as refusal:
        read_keypoints(save(tmp_path / "a.npz", positions), fps=FPS)
    assert refusal.value.path == "positions_2d"


class Hostile:
    def __reduce__(self):
        return os.system, ("touch witness",)


def test_an_archive_that_runs_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.npz", {"a.mp4": {"custom": [POSITIONS]}}, {"layout_name": Hostile()})
    with pytest.raises(InvalidFile, match=r"calls posix.system.*np.savez\(path, keypoints"):
        read_keypoints(path, fps=FPS)
    assert not (tmp_path / "witness").exists()


def detections(frames):
    """As VideoPose3D's `infer_video_d2.py` keeps them: for each frame a list by class, people being the second."""
    stacked = np.empty((len(frames), 2), dtype=object)
    for index, people in enumerate(frames):
        stacked[index] = [[], people]
    return stacked


def save_detections(path, frames):
    boxes = detections([np.ones((len(people), 5)) for people in frames])
    people = detections([np.stack([of_four_rows(one) for one in found]) if found else [] for found in frames])
    segments = np.full(len(frames), None)
    metadata = np.array({"w": 640, "h": 480}, dtype=object)
    np.savez_compressed(path, boxes=boxes, keypoints=people, segments=segments, metadata=metadata)
    return path


def of_four_rows(detected):
    """[4, 17]: x, y, logit, probability."""
    return np.stack([detected[:, 0], detected[:, 1], np.full(len(detected), 7.0), detected[:, 2]])


def test_the_detections_that_it_is_made_of(tmp_path):
    one = keypoints()
    path = save_detections(tmp_path / "a.npz", [[one[0]], [], [one[2]], [one[3]]])
    ((track_id, sequence, _),), warnings = read_keypoints(path, fps=FPS)
    assert (track_id, sequence.skeleton.name, warnings) == (None, "coco17", ())
    np.testing.assert_allclose(sequence.keypoints[[0, 2, 3]], one[[0, 2, 3]], rtol=1e-6)
    assert np.isnan(sequence.keypoints[1, :, :2]).all()


def test_detections_of_another_shape(tmp_path):
    one = keypoints()
    path = tmp_path / "a.npz"
    np.savez(path, boxes=1, segments=1, keypoints=one)
    with pytest.raises(InvalidFile, match=r"\[people, 4, 17\]"):
        read_keypoints(path, fps=FPS)


def test_an_object_array_of_another_shape_than_its_header(tmp_path):
    content = BytesIO()
    np.save(content, np.array({"a.mp4": 1}, dtype=object), allow_pickle=True)
    claimed = content.getvalue().replace(b"'shape': (), }   ", b"'shape': (9,), } ")
    assert claimed != content.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("positions_2d.npy", claimed)
    with pytest.raises(InvalidFile, match="no array of numbers"):
        read_keypoints(tmp_path / "a.npz", fps=FPS)
