"""HDF5 files, as pandas writes them for DeepLabCut and h5py for SLEAP."""

import sys

import h5py
import numpy as np
import pytest

from poselift.errors import InvalidFile, sentence_about
from tests.unit.formats.readers.tables.tables import COCO, assert_holds, read, shifted


def test_deeplabcut_s_predictions(data, sample):
    assert_holds(data / "deeplabcut_table.h5", sample[:30])


def test_deeplabcut_s_labels_of_two(data, detected):
    tracks, _ = read(data / "deeplabcut_fixed.h5")
    assert [track.track_id for track in tracks] == ["left", "right"]
    np.testing.assert_allclose(tracks[0].sequence.keypoints, detected, atol=1e-3)
    np.testing.assert_allclose(tracks[1].sequence.keypoints, shifted(detected), atol=1e-3)


def sleap(path, *people, **more):
    """As SLEAP's analysis files: every array transposed."""
    stacked = np.stack(people)
    datasets = {
        "tracks": stacked[..., :2].transpose(0, 3, 2, 1),
        "point_scores": stacked[..., 2].transpose(0, 2, 1),
        "node_names": np.array(COCO, dtype="S"),
        "track_names": np.array([f"track_{number}" for number in range(len(people))], dtype="S"),
        **more,
    }
    with h5py.File(path, "w") as file:
        for name, content in datasets.items():
            if content is not None:
                file[name] = content
    return path


def test_sleap_s_analysis_of_one(tmp_path, detected):
    holes = detected.copy()
    holes[2, 3] = holes[5] = np.nan
    path = sleap(tmp_path / "a.h5", holes)
    assert_holds(path, holes)


def test_sleap_s_analysis_of_two(tmp_path, detected):
    other = shifted(detected)
    other[1] = np.nan
    tracks, _ = read(sleap(tmp_path / "a.h5", detected, other))
    assert [track.track_id for track in tracks] == ["track_0", "track_1"]
    assert np.isnan(tracks[1].sequence.keypoints[1, :, 0]).all()
    np.testing.assert_allclose(tracks[0].sequence.keypoints, detected, atol=1e-3)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"tracks": np.zeros((1, 2, 17))}, "tracks must be numbers"),
        ({"tracks": np.zeros((1, 3, 17, 8))}, "tracks must be numbers"),
        ({"tracks": np.zeros((1, 2, 17, 8), dtype=int)}, "tracks must be numbers"),
        ({"point_scores": np.zeros((1, 2))}, "point_scores must be"),
        ({"node_names": None}, "neither a table of DeepLabCut nor an analysis file of SLEAP; export"),
        ({"node_names": np.array([f"n{number}t" for number in range(17)], dtype="S")}, "its joints are named n0t, n1t"),
    ],
)
def test_other_files_are_refused(tmp_path, detected, more, complaint):
    with pytest.raises(InvalidFile, match=complaint):
        read(sleap(tmp_path / "a.h5", detected, **more))


def test_a_table_of_something_else(data, tmp_path):
    for name, changed in (
        ("deeplabcut_table", {"info": b"(dp0\n."}),
        ("deeplabcut_fixed", {"axis0_variety": b"regular"}),
    ):
        path = tmp_path / f"{name}.h5"
        path.write_bytes((data / path.name).read_bytes())
        with h5py.File(path, "a") as file:
            for key, value in changed.items():
                file["df_with_missing"].attrs[key] = value
        with pytest.raises(InvalidFile, match="not DeepLabCut's; export the keypoints as CSV"):
            read(path)


def test_names_in_a_file_are_a_pickle_that_is_not_run(data, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes((data / "deeplabcut_table.h5").read_bytes())
    with h5py.File(path, "a") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = b"cos\nsystem\n(Vtouch witness\ntR."
    with pytest.raises(InvalidFile, match=r"calls os\.system"):
        read(path)


def test_numbers_in_another_file(tmp_path, detected):
    path = sleap(tmp_path / "a.h5", detected, tracks=None)
    (tmp_path / "secret").write_bytes(bytes(8 * 1 * 2 * 17 * 8))
    with h5py.File(path, "a") as file:
        file.create_dataset("tracks", (1, 2, 17, 8), "f8", external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(InvalidFile, match="tracks lies in another file"):
        read(path)


def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path, detected):
    path = sleap(tmp_path / "a.h5", detected, tracks=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("tracks", (1000, 2, 17, 1_000_000), "f4", chunks=(1, 2, 17, 1000), compression="gzip")
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidFile, match="more than the 100000000 that are read"):
        read(path)


def test_a_file_that_is_cut_off(data, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes((data / "deeplabcut_table.h5").read_bytes()[:5000])
    with pytest.raises(InvalidFile, match=r"cut off or broken; export"):
        read(path)


def test_without_h5py_one_sentence_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError) as refusal:
        read(data / "deeplabcut_table.h5")
    assert "pip install 'poselift[formats]'" in str(sentence_about(refusal.value))
