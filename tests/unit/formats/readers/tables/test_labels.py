"""Label files of Ultralytics."""

import numpy as np
import pytest

from poselift.errors import InvalidFile
from tests.unit.formats.readers.tables.tables import read, shifted

SIZE = np.array([1080, 1920])


def line(joints, *last, scores=True, digits="%g"):
    """As `save_txt` writes it: class, box, keypoints as shares of the picture, then what options add."""
    rows = np.concatenate([joints[:, :2] / SIZE, joints[:, 2:]], axis=1) if scores else joints[:, :2] / SIZE
    return " ".join(digits % value for value in (0, 0.5, 0.5, 0.2, 0.4, *rows.ravel(), *last))


@pytest.fixture
def folder(tmp_path):
    def write(lines, video="clip"):
        for frame, text in lines.items():
            (tmp_path / f"{video}_{frame}.txt").write_text(text + "\n")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("last", "identity"),
    [((), None), ((0.87,), None), ((3,), "3"), ((0.87, 3), "3")],
    ids=["keypoints", "box's score", "track", "box's score and track"],
)
@pytest.mark.parametrize("scores", [True, False])
def test_a_file_per_frame(folder, detected, last, identity, scores):
    path = folder(
        {frame + 1: line(joints, *last, scores=scores) for frame, joints in enumerate(detected) if frame != 4}
    )
    (track,), _ = read(path)
    assert (track.track_id, track.first_frame) == (identity, 1)
    assert track.sequence.skeleton.name == "coco17"
    kept = [0, 1, 2, 3, 5, 6, 7]
    np.testing.assert_allclose(track.sequence.keypoints[kept, :, :2], detected[kept, :, :2], atol=0.01)
    np.testing.assert_allclose(track.sequence.keypoints[kept, :, 2], detected[kept, :, 2] if scores else 1, atol=1e-3)
    assert np.isnan(track.sequence.keypoints[4, :, 0]).all()


def test_joints_that_were_not_found_are_zeros(folder, detected):
    holes = detected.copy()
    holes[:, 9, :2] = 0
    (track,), _ = read(folder({frame: line(joints) for frame, joints in enumerate(holes)}))
    assert np.isnan(track.sequence.keypoints[:, 9, 0]).all()
    assert np.isnan(track.sequence.keypoints[..., 0]).sum() == 8


def test_training_labels_have_a_visibility(folder, detected):
    labels = detected.copy()
    labels[..., 2] = 2
    labels[:, 7, 2] = 1
    labels[:, 9] = 0
    (track,), _ = read(folder({frame: line(joints) for frame, joints in enumerate(labels)}))
    np.testing.assert_array_equal(track.sequence.keypoints[0, 7:10, 2], [1, 1, 0])


def test_a_second_run_appends_the_same_lines(folder, detected):
    twice = {frame: f"{line(joints, 0.9)}\n{line(joints, 0.9)}" for frame, joints in enumerate(detected)}
    (track,), warnings = read(folder(twice))
    np.testing.assert_allclose(track.sequence.keypoints[..., :2], detected[..., :2], atol=0.01)
    assert [(one.code, one.path) for one in warnings] == [("duplicate_people", "clip_0.txt: line 2")]


def test_a_box_without_keypoints_is_nobody(folder, detected):
    nobody = line(np.zeros((17, 3)), 0.9, 1)
    path = folder({frame: f"{line(joints, 0.9, 1)}\n{nobody}\n{nobody}" for frame, joints in enumerate(detected)})
    (track,), warnings = read(path)
    assert (track.track_id, warnings) == ("1", ())


def test_two_files_of_the_same_number(folder, detected):
    folder({"01": line(detected[0])})
    with pytest.raises(InvalidFile, match=r"clip_01\.txt and clip_1\.txt have the same frame number, 1"):
        read(folder({1: line(detected[1])}))


def test_a_file_that_is_no_text_is_named(folder, detected):
    path = folder({1: line(detected[0]), 2: ""})
    (path / "clip_2.txt").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(InvalidFile, match=r"clip_2\.txt: it is neither text"):
        read(path)


def test_two_people_with_tracks(folder, detected):
    other = shifted(detected)
    path = folder({f: f"{line(other[f], 0.8, 2)}\n{line(joints, 0.9, 1)}" for f, joints in enumerate(detected)})
    tracks, _ = read(path)
    of = {track.track_id: track.sequence.keypoints for track in tracks}
    np.testing.assert_allclose(of["1"][..., :2], detected[..., :2], atol=0.01)
    np.testing.assert_allclose(of["2"][..., :2], other[..., :2], atol=0.01)


def test_a_single_file_is_one_frame(folder, detected):
    path = folder({1: line(detected[0])}) / "clip_1.txt"
    (track,), _ = read(path)
    np.testing.assert_allclose(track.sequence.keypoints[0, :, :2], detected[0, :, :2], atol=0.01)


def test_the_image_size_is_asked_for(folder, detected):
    with pytest.raises(InvalidFile, match="--image-size"):
        read(folder({1: line(detected[0])}), image_size=None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0 0.5 0.5", "clip_2.txt: line 1 has 3 numbers; a person is class, box"),
        ("0 0.5 " + "x " * 54, "clip_2.txt: line 1 must be numbers between spaces"),
        ("0 " * 200, "clip_2.txt: line 1 has 200 numbers"),
    ],
)
def test_a_broken_file_is_named(folder, detected, text, complaint):
    with pytest.raises(InvalidFile, match=complaint):
        read(folder({1: line(detected[0]), 2: text}))


def test_the_line_that_is_broken_is_counted_with_all_others(folder, detected):
    whole = line(detected[0], 0.9)
    with pytest.raises(InvalidFile, match=r"clip_1\.txt: line 4 has 3 numbers"):
        read(folder({1: f"{whole}\n{whole}\n\n0 0.5 0.5"}))


def test_labels_of_several_videos(folder, detected):
    folder({1: line(detected[0])}, "one")
    with pytest.raises(InvalidFile, match="several videos in it: one, two"):
        read(folder({1: line(detected[0])}, "two"))
