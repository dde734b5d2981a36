"""Angles as CSV, read by pandas."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poselift.formats.writers.angles import write_angles_csv
from tests.unit.formats.writers.lifted_tracks import MANIFEST
from tests.unit.formats.writers.world_motions import moving_track, t_pose


def test_a_row_per_frame_of_each_person(tmp_path):
    first, second = moving_track("7", frames=5), moving_track("8", frames=7)._replace(first_frame=3)
    write_angles_csv(tmp_path / "walk.angles.csv", MANIFEST, [first, second])
    table = pd.read_csv(tmp_path / "walk.angles.csv")
    assert table.columns.tolist() == ["person", "frame", "time_s", "left_knee_flexion_deg"]
    assert table.person.tolist() == [7] * 5 + [8] * 7
    assert table.frame.tolist() == [*range(5), *range(3, 10)]
    np.testing.assert_allclose(table.time_s[5:], second.times_s, atol=1e-6)
    np.testing.assert_allclose(table.left_knee_flexion_deg[:5], first.world.angles["left_knee_flexion"], atol=1e-3)


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_angles_that_nobody_asked_for_are_worked_out(tmp_path, up_axis):
    track = t_pose(up_axis=up_axis)
    write_angles_csv(tmp_path / "walk.angles.csv", MANIFEST, [track._replace(world=replace(track.world, angles=None))])
    angles = pd.read_csv(tmp_path / "walk.angles.csv").iloc[0]
    assert abs(angles.left_knee_flexion_deg) < 0.1
    assert abs(angles.trunk_flexion_deg) < 0.1
