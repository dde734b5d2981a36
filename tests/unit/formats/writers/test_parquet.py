"""Poses as Parquet, read by pyarrow and pandas."""

import numpy as np
import pandas as pd
import pytest

from tests.unit.formats.writers.lifted_tracks import JOINTS, MANIFEST, track_of
from tests.unit.formats.writers.world_motions import moving_track

pq = pytest.importorskip("pyarrow.parquet")


def test_rows_and_metadata(tmp_path):
    from poselift.formats.writers.parquet import write_parquet

    tracks = [track_of("7", first_frame=15), track_of("8", frames=5001)]
    write_parquet(tmp_path / "poses.parquet", MANIFEST, tracks)
    metadata = pq.read_schema(tmp_path / "poses.parquet").metadata
    assert metadata[b"skeleton"] == b"h36m17"
    assert metadata[b"unit"] == b"m"
    assert metadata[b"model"] == b"writer@3"
    table = pd.read_parquet(tmp_path / "poses.parquet")
    for track in tracks:
        own, shape = table[table.person == track.track_id], track.lifted.imputed.shape
        assert own.joint.tolist() == list(JOINTS) * shape[0]
        assert own.frame.iloc[0] == track.first_frame
        np.testing.assert_array_equal(own[["x_m", "y_m", "z_m"]].to_numpy().reshape(*shape, 3), track.lifted.joints)
        np.testing.assert_array_equal(own.imputed.to_numpy().reshape(shape), track.lifted.imputed)
        np.testing.assert_array_equal(own.expected_error_m.to_numpy().reshape(shape), track.lifted.expected_error_m)
        np.testing.assert_array_equal(own.time_s, np.repeat(track.times_s, shape[1]))


def test_motion_in_the_world_has_columns_of_its_own(tmp_path):
    from poselift.formats.writers.parquet import write_parquet

    track = moving_track()
    write_parquet(tmp_path / "poses.parquet", MANIFEST, [track])
    places = pd.read_parquet(tmp_path / "poses.parquet")[["world_x_m", "world_y_m", "world_z_m"]]
    np.testing.assert_array_equal(places.to_numpy().reshape(-1, 17, 3), track.world.poses)
