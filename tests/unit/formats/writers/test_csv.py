"""Poses as CSV, read by pandas."""

import numpy as np
import pandas as pd

from poselift.formats.writers.csv import write_csv, write_wide_csv
from tests.unit.formats.writers.lifted_tracks import EXACT_M, JOINTS, MANIFEST, track_of
from tests.unit.formats.writers.world_motions import moving_track


def test_tidy_rows(tmp_path):
    tracks = [track_of("7", first_frame=15), track_of("a, b", frames=4)]
    write_csv(tmp_path / "poses.csv", MANIFEST, tracks)
    table = pd.read_csv(tmp_path / "poses.csv")
    assert list(table) == ["person", "frame", "time_s", "joint", "x_m", "y_m", "z_m", "imputed", "expected_error_m"]
    assert table.person.unique().tolist() == ["7", "a, b"]
    for track in tracks:
        own, shape = table[table.person == track.track_id], track.lifted.imputed.shape
        assert own.joint.tolist() == list(JOINTS) * shape[0]
        assert own.frame.tolist() == np.repeat(track.first_frame + np.arange(shape[0]), shape[1]).tolist()
        np.testing.assert_allclose(own.time_s, np.repeat(track.times_s, shape[1]), atol=1e-6)
        np.testing.assert_allclose(
            own[["x_m", "y_m", "z_m"]].to_numpy().reshape(*shape, 3), track.lifted.joints, atol=EXACT_M
        )
        np.testing.assert_array_equal(own.imputed.to_numpy().reshape(shape), track.lifted.imputed)
        np.testing.assert_allclose(
            own.expected_error_m.to_numpy().reshape(shape), track.lifted.expected_error_m, atol=EXACT_M
        )


def test_wide_rows(tmp_path):
    track = track_of()
    write_wide_csv(tmp_path / "poses.wide.csv", MANIFEST, [track])
    table = pd.read_csv(tmp_path / "poses.wide.csv")
    assert len(table) == len(track.times_s)
    assert table.person.unique().tolist() == [1]
    for number, joint in enumerate(JOINTS):
        positions = table[[f"{joint}_{axis}_m" for axis in "xyz"]]
        np.testing.assert_allclose(positions, track.lifted.joints[:, number], atol=EXACT_M)
        np.testing.assert_array_equal(table[f"{joint}_imputed"], track.lifted.imputed[:, number])
        np.testing.assert_allclose(
            table[f"{joint}_expected_error_m"], track.lifted.expected_error_m[:, number], atol=EXACT_M
        )


def test_without_expected_errors_there_is_no_column_for_them(tmp_path):
    for write in (write_csv, write_wide_csv):
        write(tmp_path / "poses.csv", MANIFEST, [track_of(expected_error=False)])
        assert not [name for name in pd.read_csv(tmp_path / "poses.csv") if "expected_error" in name]


def test_more_frames_than_are_formatted_at_a_time(tmp_path):
    track = track_of(frames=5001)
    write_wide_csv(tmp_path / "poses.wide.csv", MANIFEST, [track])
    table = pd.read_csv(tmp_path / "poses.wide.csv")
    assert table.frame.tolist() == list(range(5001))
    np.testing.assert_allclose(table.head_z_m, track.lifted.joints[:, JOINTS.index("head"), 2], atol=EXACT_M)


def test_motion_in_the_world_has_columns_of_its_own(tmp_path):
    track = moving_track()
    write_csv(tmp_path / "poses.csv", MANIFEST, [track])
    places = pd.read_csv(tmp_path / "poses.csv")[["world_x_m", "world_y_m", "world_z_m"]]
    np.testing.assert_allclose(places.to_numpy().reshape(-1, 17, 3), track.world.poses, atol=EXACT_M)
    write_wide_csv(tmp_path / "poses.wide.csv", MANIFEST, [track])
    head = pd.read_csv(tmp_path / "poses.wide.csv")[[f"head_world_{axis}_m" for axis in "xyz"]]
    np.testing.assert_allclose(head, track.world.poses[:, JOINTS.index("head")], atol=EXACT_M)
