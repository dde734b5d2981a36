"""Frames by the numbers in names."""

import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.frame_files import frame_files, last_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("17.jpg", 17),
        ("take_2_000012_keypoints", 12),
        ("frame-007", 7),
        ("settings", None),
        ("1" * 15, int("1" * 15)),
        ("1" * 16, None),
    ],
)
def test_the_number_of_a_frame(name, number):
    assert last_number(name) == number


def test_files_without_a_number_are_no_frames(tmp_path):
    for name in ("clip_2.txt", "clip_10.TXT", "classes.txt", "clip_3.json"):
        (tmp_path / name).touch()
    assert {number: path.name for number, path in frame_files(tmp_path, ".txt").items()} == {
        2: "clip_2.txt",
        10: "clip_10.TXT",
    }
    with pytest.raises(InvalidFile, match=r"no \.csv files with a frame number in their names, such as 000000\.csv"):
        frame_files(tmp_path, ".csv")
