"""Tables with a row per joint."""

import numpy as np
import pandas as pd
import pytest

from poselift.errors import InvalidFile
from tests.unit.formats.readers.tables.tables import COCO, assert_holds, read, shifted


def long(detected, joint="joint", frame="frame", names=COCO, axes=("x", "y", "score")):
    rows = [
        (index, name, *detected[index, number]) for index in range(len(detected)) for number, name in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=[frame, joint, *axes])


@pytest.mark.parametrize("joint", ["joint", "keypoint", "landmark", "bodypart"])
@pytest.mark.parametrize("axes", [("x", "y", "score"), ("x_px", "y_px", "confidence"), ("X", "Y", "visibility")])
def test_rows_of_joints(tmp_path, detected, joint, axes):
    long(detected, joint, axes=axes).sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    assert_holds(tmp_path / "a.csv", detected)


def test_rows_that_are_left_out_are_missing_joints(tmp_path, detected):
    table = long(detected)
    kept = table[~((table.frame == 2) & (table.joint == "left_wrist")) & (table.frame != 5)]
    kept.to_csv(tmp_path / "a.csv", index=False)
    holes = detected.copy()
    holes[2, COCO.index("left_wrist")] = holes[5] = (np.nan, np.nan, 0)
    assert_holds(tmp_path / "a.csv", holes)


def test_rows_without_frame_numbers(tmp_path, detected):
    long(detected).drop(columns="frame").to_csv(tmp_path / "a.csv", index=False)
    assert_holds(tmp_path / "a.csv", detected)


def test_people_in_a_column(tmp_path, detected):
    parts = [long(shifted(detected, number)).assign(person=f"p{number}") for number in (0, 1)]
    pd.concat(parts).to_csv(tmp_path / "a.csv", index=False)
    tracks, _ = read(tmp_path / "a.csv")
    assert [track.track_id for track in tracks] == ["p0", "p1"]
    np.testing.assert_allclose(tracks[1].sequence.keypoints, shifted(detected), atol=1e-3)


@pytest.mark.parametrize("named", [(), ("p1",)])
def test_a_column_of_people_that_begins_without_a_name(tmp_path, detected, named):
    parts = [long(detected).assign(person=""), *(long(shifted(detected)).assign(person=name) for name in named)]
    pd.concat(parts).to_csv(tmp_path / "a.csv", index=False)
    tracks, _ = read(tmp_path / "a.csv", person="longest" if named else None)
    assert "nan" not in [track.track_id for track in tracks]
    np.testing.assert_allclose(tracks[0].sequence.keypoints, detected, atol=1e-3)


def test_numbered_landmarks_with_depth_and_times(tmp_path):
    landmarks = np.random.default_rng(0).uniform((0.1, 0.1, 0.5), (0.9, 0.9, 1), (8, 33, 3))
    table = long(landmarks, "landmark_id", names=range(33)).assign(z=-0.3)
    table["timestamp_ms"] = table.frame * 40
    table.to_csv(tmp_path / "a.csv", index=False)
    (track,), _ = read(tmp_path / "a.csv", fps=None)
    assert track.sequence.skeleton.name == "mediapipe33"
    np.testing.assert_allclose(track.sequence.keypoints, landmarks * (1080, 1920, 1), atol=1e-3)
    np.testing.assert_allclose(track.sequence.times_s, np.arange(8) * 0.04)


def test_a_joint_that_is_there_twice(tmp_path, detected):
    table = long(detected)
    pd.concat([table, table[:1]]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InvalidFile, match="joint nose is there twice in frame 0"):
        read(tmp_path / "a.csv")


def test_our_own_poses_are_refused(tmp_path, detected):
    long(detected, axes=("x_m", "y_m", "z_m")).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InvalidFile, match="such as x_m, hold 3D positions"):
        read(tmp_path / "a.csv")


def test_rows_that_would_fill_the_memory(tmp_path):
    rows = "\n".join(f"{number},joint{number},1,2" for number in range(10_000))
    (tmp_path / "a.csv").write_text(f"frame,joint,x,y\n{rows}\n")
    with pytest.raises(InvalidFile, match="so many rows, people and joints"):
        read(tmp_path / "a.csv")


def test_a_table_of_too_many_cells(tmp_path, monkeypatch):
    monkeypatch.setattr("poselift.formats.readers.tables.table.MAX_NUMBERS", 100)
    (tmp_path / "a.csv").write_text("frame,joint,x,y\n" + "0,nose,1,2\n" * 26)
    with pytest.raises(InvalidFile, match="more than the 100 cells"):
        read(tmp_path / "a.csv")
