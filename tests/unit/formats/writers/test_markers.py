"""Poses as markers: names, axes and a constant rate."""

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.writers.markers import marker_names, markers_of
from poselift.skeletons import SKELETONS
from tests.unit.formats.writers.lifted_tracks import JOINTS, MANIFEST, track_of
from tests.unit.formats.writers.world_motions import HIPS_M, t_pose


def test_names_are_those_of_pose2sim():
    names = (
        "Hip RHip RKnee RAnkle LHip LKnee LAnkle Spine Neck Nose Head LShoulder LElbow LWrist RShoulder RElbow RWrist"
    )
    assert marker_names(MANIFEST.target) == names.split()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=str)
def test_no_two_joints_of_a_skeleton_have_one_name(skeleton):
    assert len(set(marker_names(skeleton))) == skeleton.n_joints


def test_axes_are_those_of_opensim_for_somebody_who_faces_the_camera():
    track = track_of(frames=1)
    hip, nose, head = JOINTS.index("right_hip"), JOINTS.index("neck_nose"), JOINTS.index("head")
    track.lifted.joints[0, [hip, nose, head]] = [[-0.1, 0, 0], [0, -0.5, -0.2], [0, -0.7, 0]]
    positions = markers_of(track, MANIFEST).positions_m[0]
    np.testing.assert_allclose(positions[hip], [0, 0, 0.1], atol=1e-7)  # z right
    np.testing.assert_allclose(positions[nose], [0.2, 0.5, 0], atol=1e-7)  # x forward
    np.testing.assert_allclose(positions[head], [0, 0.7, 0], atol=1e-7)  # y up


def test_rounded_timestamps_are_even():
    track = track_of(frames=100, times_s=np.round(np.arange(100) / 30, 3))
    markers = markers_of(track, MANIFEST)
    assert markers.rate_hz == pytest.approx(30, abs=1e-3)
    assert len(markers.positions_m) == 100


def test_a_dropped_frame_is_interpolated():
    kept = np.array([0, 1, 2, 4, 5, 6, 7])
    track = track_of(times_s=kept / 25)
    markers = markers_of(track, MANIFEST)
    whole = -track.lifted.joints[..., ::-1]
    assert markers.rate_hz == 25
    np.testing.assert_allclose(markers.positions_m[kept], whole, atol=1e-6)
    np.testing.assert_allclose(markers.positions_m[3], (whole[2] + whole[3]) / 2, atol=1e-6)


def test_gaps_of_hours_are_refused():
    track = track_of(times_s=np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 1e9]))
    with pytest.raises(InvalidFile, match=r"up to 1e\+09 s apart"):
        markers_of(track, MANIFEST)


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_motion_in_the_world_has_the_axes_of_opensim(up_axis):
    track = t_pose(up_axis=up_axis)
    markers = markers_of(track, MANIFEST)
    at = dict(zip(markers.names, markers.positions_m[0], strict=True))
    np.testing.assert_allclose(at["Hip"], [0, HIPS_M, 0], atol=1e-9)  # on the ground, y up
    np.testing.assert_allclose(at["RHip"], [0, HIPS_M, 0.13], atol=1e-9)  # z right
    assert at["Nose"][0] > 0.05  # x forward
