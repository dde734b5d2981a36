"""Poses as a NumPy archive; test_json.py reads it back."""

import numpy as np

from poselift.formats.writers.npz import write_npz
from tests.unit.formats.writers.lifted_tracks import JOINTS, MANIFEST, track_of
from tests.unit.formats.writers.world_motions import moving_track


def test_the_arrays_of_one_person(tmp_path):
    track = track_of(first_frame=4)
    write_npz(tmp_path / "poses.npz", MANIFEST, [track])
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert (arrays["fps"], arrays["unit"], arrays["first_frame"]) == (30, "m", 4)
        assert arrays["model"] == "writer@3"
        assert arrays["joint_names"].tolist() == list(JOINTS)
        np.testing.assert_array_equal(arrays["poses"], track.lifted.joints)
        np.testing.assert_array_equal(arrays["imputed"], track.lifted.imputed)
        np.testing.assert_array_equal(arrays["expected_error_m"], track.lifted.expected_error_m)


def test_the_arrays_of_several_people(tmp_path):
    tracks = [track_of("7"), track_of("8", frames=3, times_s=np.array([0, 0.1, 0.15]), expected_error=False)]
    write_npz(tmp_path / "poses.npz", MANIFEST, tracks)
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert arrays["track_ids"].tolist() == ["7", "8"]
        assert arrays["7/fps"] == 30
        np.testing.assert_array_equal(arrays["8/timestamps_s"], [0, 0.1, 0.15])
        np.testing.assert_array_equal(arrays["8/poses"], tracks[1].lifted.joints)
        assert "8/expected_error_m" not in arrays


def test_motion_in_the_world(tmp_path):
    tracks = [moving_track("7"), moving_track("8", up_axis="z")]
    write_npz(tmp_path / "poses.npz", MANIFEST, tracks)
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["7/world_poses"], tracks[0].world.poses)
        np.testing.assert_array_equal(arrays["7/world_rotations"], tracks[0].world.rotations)
        assert (arrays["7/world_contacts"].shape, arrays["7/world_gravity"].shape) == ((7, 2), (3,))
        assert "z up" in str(arrays["8/world_axes"])
        assert "8/world_rotations" not in arrays
