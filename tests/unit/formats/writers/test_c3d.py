"""Poses as C3D, read by ezc3d and by the package c3d, which share no code."""

import warnings

import numpy as np
import pytest

from poselift.formats.writers.pose_file import form_of
from tests.unit.formats.writers.lifted_tracks import EXACT_M, MANIFEST, track_of

ezc3d = pytest.importorskip("ezc3d")
c3d = pytest.importorskip("c3d")

LONGEST = form_of("c3d").max_frames


def by_ezc3d(path):
    file = ezc3d.c3d(str(path))
    point = file["parameters"]["POINT"]
    header = file["header"]["points"]
    assert point["UNITS"]["value"] == ["mm"]
    assert (point["X_SCREEN"]["value"], point["Y_SCREEN"]["value"]) == (["-Z"], ["+Y"])
    return (
        point["LABELS"]["value"],
        point["RATE"]["value"][0],
        header["first_frame"] + 1,
        file["data"]["points"][:3].transpose(2, 1, 0),
    )


def by_c3d(path):
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no analog data
        reader = c3d.Reader(file)
        frames = [points for _, points, _ in reader.read_frames()]
        assert all((points[:, 3] >= 0).all() for points in frames)  # no point is missing
        labels = [label.strip() for label in reader.point_labels]
        return labels, reader.point_rate, reader.first_frame, np.array(frames)[..., :3]


@pytest.mark.parametrize("read", [by_ezc3d, by_c3d])
@pytest.mark.parametrize(("frames", "first_frame"), [(7, 0), (7, 15), (1, 0), (LONGEST, 0), (LONGEST, 15)])
def test_independent_readers_read_it(tmp_path, read, frames, first_frame):
    from poselift.formats.writers.c3d import write_c3d

    track = track_of(frames=frames, first_frame=first_frame)
    write_c3d(tmp_path / "poses.c3d", MANIFEST, [track])
    labels, rate_hz, first, positions_mm = read(tmp_path / "poses.c3d")
    assert labels[:3] == ["Hip", "RHip", "RKnee"]
    assert rate_hz == pytest.approx(30 if frames > 1 else MANIFEST.frame_rate_hz)
    assert first == (first_frame + 1 if frames < LONGEST else 1)
    camera_m = -positions_mm[..., ::-1] / 1000
    np.testing.assert_allclose(camera_m, track.lifted.joints, atol=EXACT_M)
