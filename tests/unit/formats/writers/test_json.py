"""Poses as JSON, read by `json` and by the reader of `poselift complete`."""

import json

import numpy as np
import pytest

from poselift.formats.readers.pose_file import read_poses
from poselift.formats.writers.json import write_json
from poselift.formats.writers.npz import write_npz
from poselift.input_warnings import InputWarning
from tests.unit.formats.writers.lifted_tracks import EXACT_M, JOINTS, MANIFEST, track_of

UNEVEN_S = np.array([0, 0.03, 0.1, 0.14, 0.2, 0.21, 0.3])
OWN_WRITERS = [(write_json, "poses.json"), (write_npz, "poses.npz")]


def test_the_keys_of_one_person(tmp_path):
    track = track_of(first_frame=4)
    write_json(tmp_path / "poses.json", MANIFEST, [track])
    document = json.loads((tmp_path / "poses.json").read_text())
    assert list(document) == [
        *("model", "skeleton", "joint_names", "unit", "axes", "fps"),
        *("poses", "imputed", "expected_error_m", "first_frame", "warnings"),
    ]
    assert document["warnings"] == []
    assert document["fps"] == 30
    assert document["unit"] == "m"
    assert document["joint_names"] == list(JOINTS)
    assert document["first_frame"] == 4
    np.testing.assert_allclose(document["poses"], track.lifted.joints, atol=EXACT_M)
    np.testing.assert_allclose(document["expected_error_m"], track.lifted.expected_error_m, atol=EXACT_M)
    assert document["imputed"] == track.lifted.imputed.tolist()


def test_people_with_times_of_their_own(tmp_path):
    tracks = [track_of("7", times_s=UNEVEN_S), track_of("8", frames=5)]
    write_json(tmp_path / "poses.json", MANIFEST, tracks)
    document = json.loads((tmp_path / "poses.json").read_text())
    assert not {"fps", "timestamps_s"} & document.keys()
    first, second = document["tracks"]
    assert first["timestamps_s"] == UNEVEN_S.tolist()
    assert second["fps"] == 30
    assert "timestamps_s" not in second


@pytest.mark.parametrize(("write", "name"), OWN_WRITERS)
@pytest.mark.parametrize("times_s", [None, UNEVEN_S])
@pytest.mark.parametrize("track_ids", [[None], ["7", "eight"]])
def test_own_files_can_be_read_back(tmp_path, write, name, times_s, track_ids):
    tracks = [track_of(track_id, times_s=times_s, first_frame=3) for track_id in track_ids]
    write(tmp_path / name, MANIFEST, tracks)
    for written, read in zip(tracks, read_poses(tmp_path / name), strict=True):
        assert (read.track_id, read.first_frame) == (written.track_id, written.first_frame)
        np.testing.assert_allclose(read.sequence.joints, written.lifted.joints, atol=EXACT_M)
        np.testing.assert_allclose(read.sequence.times_s, written.times_s, atol=1e-9)
        assert read.sequence.skeleton.name == "h36m17"


@pytest.mark.parametrize(("write", "name"), OWN_WRITERS)
def test_people_with_times_of_their_own_can_be_read_back(tmp_path, write, name):
    tracks = [track_of("7", times_s=UNEVEN_S, first_frame=12), track_of("8", frames=5)]
    write(tmp_path / name, MANIFEST, tracks)
    for written, read in zip(tracks, read_poses(tmp_path / name), strict=True):
        np.testing.assert_allclose(read.sequence.times_s, written.times_s, atol=1e-9)
        assert read.first_frame == written.first_frame
    for read in read_poses(tmp_path / name, fps=10):  # what the caller gives holds for everybody
        np.testing.assert_allclose(np.diff(read.sequence.times_s), 0.1)


def test_what_is_likely_wrong_with_the_input_is_written(tmp_path):
    warning = InputWarning("upside_down", "The head is below the feet.", "keypoints")
    write_json(tmp_path / "poses.json", MANIFEST, [track_of()], [warning])
    document = json.loads((tmp_path / "poses.json").read_text())
    assert document["warnings"] == [
        {"code": "upside_down", "message": "The head is below the feet.", "path": "keypoints"}
    ]
