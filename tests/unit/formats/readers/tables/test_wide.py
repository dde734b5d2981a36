"""Tables with a row per frame, as pandas writes them and as spreadsheets do."""

import csv

import numpy as np
import pandas as pd
import pytest

from poselift.errors import InvalidFile, PoseliftError
from poselift.skeletons import SKELETONS
from tests.unit.formats.readers.tables.tables import COCO, SCORED, assert_holds, read, shifted


def wide(detected, pattern="{joint}_{axis}", axes=SCORED, joints=COCO):
    columns = {
        pattern.format(joint=joint, axis=axis): detected[:, number, place]
        for number, joint in enumerate(joints)
        for place, axis in enumerate(axes)
    }
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    "pattern", ["{joint}_{axis}", "{joint}.{axis}", "{joint} {axis}", "{axis}_{joint}", "{joint} [{axis}]"]
)
@pytest.mark.parametrize("axes", [SCORED, ("x", "y", "likelihood"), ("X", "Y", "confidence")])
def test_columns_of_joints_by_name(tmp_path, detected, pattern, axes):
    wide(detected, pattern, axes).to_csv(tmp_path / "a.csv", index_label="frame")
    assert_holds(tmp_path / "a.csv", detected)


def test_joints_in_another_order_and_spelling(tmp_path, detected):
    names = ["".join(part.capitalize() for part in joint.split("_")) for joint in COCO]
    table = wide(detected, "{joint}{axis}", ("X", "Y", "C"), names)
    table[list(reversed(table.columns))].to_csv(tmp_path / "a.csv", index=False)
    assert_holds(tmp_path / "a.csv", detected)


def test_without_scores_everything_is_seen(tmp_path, detected):
    wide(detected, axes=("x", "y")).to_csv(tmp_path / "a.csv")
    expected = detected.copy()
    expected[..., 2] = 1
    assert_holds(tmp_path / "a.csv", expected)


@pytest.mark.parametrize("missing", ["", "nan", "NA", "null"])
def test_cells_without_a_number_are_missing_joints(tmp_path, detected, missing):
    holes = detected.copy()
    holes[2, 5] = np.nan
    holes[4] = np.nan
    wide(holes).to_csv(tmp_path / "a.csv", na_rep=missing)
    assert_holds(tmp_path / "a.csv", holes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")])
def test_separators_decimal_commas_and_encodings(tmp_path, detected, separator, decimal, encoding):
    wide(detected).to_csv(tmp_path / "a.csv", sep=separator, decimal=decimal, encoding=encoding)
    assert_holds(tmp_path / "a.csv", detected)


def test_quoted_cells_with_decimal_commas_and_other_line_ends(tmp_path, detected):
    table = wide(detected.round(3))
    table.to_csv(tmp_path / "a.csv", sep=";", decimal=",", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    assert_holds(tmp_path / "a.csv", detected)


def test_frame_numbers_leave_gaps(tmp_path, detected):
    table = wide(detected)
    table.insert(0, "frame_idx", [10, 11, 12, 14, 15, 16, 17, 18])
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    (track,), _ = read(tmp_path / "a.csv")
    assert track.first_frame == 10
    assert np.isnan(track.sequence.keypoints[3, :, 0]).all()
    np.testing.assert_allclose(track.sequence.keypoints[[0, 1, 2, 4, 5, 6, 7, 8]], detected, atol=1e-3)


@pytest.mark.parametrize(("name", "per_second"), [("time", 1), ("timestamp_ms", 1000)])
def test_times_in_a_column(tmp_path, detected, name, per_second):
    times = np.array([0, 0.1, 0.2, 0.31, 0.4, 0.5, 0.6, 0.7])
    table = wide(detected)
    table.insert(0, name, times * per_second)
    table.to_csv(tmp_path / "a.csv", index=False)
    (track,), _ = read(tmp_path / "a.csv", fps=None)
    np.testing.assert_allclose(track.sequence.times_s, times)


def test_sleap_s_export(tmp_path, detected):
    """SLEAP's analysis CSV: a row per person and frame."""
    parts = []
    for number in (0, 1):
        part = wide(shifted(detected, number), "{joint}.{axis}")
        part.insert(0, "track", f"track_{number}")
        part.insert(1, "frame_idx", range(len(part)))
        part.insert(2, "instance.score", 0.9)
        parts.append(part)
    pd.concat([parts[0], parts[1].drop(index=3)]).to_csv(tmp_path / "a.csv", index=False)
    tracks, _ = read(tmp_path / "a.csv")
    assert [track.track_id for track in tracks] == ["track_0", "track_1"]
    np.testing.assert_allclose(tracks[0].sequence.keypoints, detected, atol=1e-3)
    assert np.isnan(tracks[1].sequence.keypoints[3, :, 0]).all()


LANDMARKS = SKELETONS["mediapipe33"].joint_names


@pytest.fixture
def landmarks():
    """Keypoints [8, 33, 3] as shares of the picture."""
    return np.random.default_rng(0).uniform((0.1, 0.1, 0.5), (0.9, 0.9, 1), (8, 33, 3))


@pytest.mark.parametrize(
    ("pattern", "joints"),
    [
        *((f"{{axis}}{gap}{{joint}}", range(first, first + 33)) for gap in ("", "_") for first in (0, 1)),
        ("landmark_{joint}_{axis}", range(33)),
        ("{joint}_{axis}", LANDMARKS),
        ("{axis}_{joint}", [joint.upper() for joint in LANDMARKS]),
    ],
)
def test_mediapipe_s_shares_of_the_picture(tmp_path, landmarks, pattern, joints):
    table = wide(landmarks, pattern, ("x", "y", "visibility"), [str(joint) for joint in joints])
    table.to_csv(tmp_path / "a.csv")
    assert_holds(tmp_path / "a.csv", landmarks * (1080, 1920, 1), skeleton="mediapipe33")


def test_mediapipe_s_landmarks_in_pixels(tmp_path, landmarks):
    in_pixels = landmarks * (1080, 1920, 1)
    wide(in_pixels, "{axis}{joint}", ("x", "y", "v"), range(33)).to_csv(tmp_path / "a.csv")
    assert_holds(tmp_path / "a.csv", in_pixels, skeleton="mediapipe33")


def test_world_landmarks_are_refused(tmp_path, landmarks):
    wide(landmarks - (0.5, 0.5, 0), "{axis}{joint}", ("x", "y", "v"), range(33)).to_csv(tmp_path / "a.csv")
    with pytest.raises(InvalidFile, match=r"metres around the hips \(world landmarks\).*pose_landmarks"):
        read(tmp_path / "a.csv")


def test_numbered_joints_without_a_skeleton_ask_for_it(tmp_path, detected):
    wide(detected, "{axis}{joint}", joints=range(17)).to_csv(tmp_path / "a.csv")
    with pytest.raises(InvalidFile, match="--skeleton"):
        read(tmp_path / "a.csv")
    (track,), _ = read(tmp_path / "a.csv", skeleton="h36m17")
    np.testing.assert_allclose(track.sequence.keypoints, detected, atol=1e-3)


def test_our_own_poses_are_refused(tmp_path, detected):
    wide(detected, "{joint}_{axis}_m", ("x", "y", "z")).to_csv(tmp_path / "a.csv")
    with pytest.raises(InvalidFile, match=r"such as nose_x_m, hold 3D positions"):
        read(tmp_path / "a.csv")


GOOD = "frame," + ",".join(f"{joint}_{axis}" for joint in COCO for axis in ("x", "y")) + "\n"
ROW = ",".join(["5"] * 34)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (GOOD, "names of columns and no rows"),
        (GOOD + f"0,{ROW}\n1,5,5\n", "line 3 has 3 cells, not 35"),
        (GOOD + f"0,{ROW}\n1,abc,{ROW[2:]}\n", "line 3: 'abc' in column nose_x is no number"),
        (GOOD + f"a,{ROW}\n", "row 1 has no frame number: 'a'"),
        (GOOD + f"0,{ROW}\n9999999,{ROW}\n", "not of one video"),
        (GOOD.replace("_x", "_u") + f"0,{ROW}\n", "its columns are frame, nose_u.*such as nose_x"),
        (GOOD.replace("left_", "blue_") + f"0,{ROW}\n", "joints are named nose, blue_eye.*needed are left and right"),
        (GOOD + f"0,{ROW.replace('5', '1e300')}\n", r"row\[0\]\[0\]"),
    ],
)
def test_broken_tables_are_refused_in_a_sentence(tmp_path, content, complaint):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(PoseliftError, match=complaint) as refusal:
        read(tmp_path / "a.csv")
    assert "\n" not in str(refusal.value)
