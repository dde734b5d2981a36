"""The choice of a writer, and files that appear whole or not at all."""

import os
import stat

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.writers.pose_file import FORMS, check_times, form_of, usable_forms, write_poses
from tests.unit.formats.writers.lifted_tracks import MANIFEST, track_of
from tests.unit.formats.writers.world_motions import moving_track


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("walk.CSV", ".csv"),
        ("a.wide.csv", ".wide.csv"),
        ("wide.csv", ".wide.csv"),
        ("csv", ".csv"),
        ("my-wide.csv", ".csv"),
        ("a.b.trc", ".trc"),
        ("walk.bvh", ".bvh"),
        ("walk.lafan1.bvh", ".lafan1.bvh"),
        ("angles.csv", ".angles.csv"),
    ],
)
def test_the_ending_chooses(name, ending):
    assert form_of(name).ending == ending


@pytest.mark.parametrize("name", ["poses", "poses.txt", "mycsv", ""])
def test_other_endings_are_refused_with_all_that_there_are(name):
    with pytest.raises(
        InvalidFile, match=r"written as \.json, \.npz, \.wide\.csv, \.angles\.csv, \.csv, \.parq.* \.glb\."
    ):
        form_of(name)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.ending)
def test_every_form_is_written_and_leaves_nothing_else(tmp_path, form):
    path = tmp_path / f"poses{form.ending}"
    assert write_poses(path, form, MANIFEST, [moving_track()]) == [path]
    assert list(tmp_path.iterdir()) == [path]


def test_each_person_has_a_file_where_a_form_holds_one(tmp_path):
    tracks = [track_of(name) for name in ("7", "a/b", "a b", "a_b")]
    paths = write_poses(tmp_path / "walk.trc", form_of("trc"), MANIFEST, tracks)
    assert [path.name for path in paths] == ["walk_7.trc", "walk_a_b.trc", "walk_a_b_2.trc", "walk_a_b_3.trc"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "poses.csv"
    path.write_text("of yesterday")

    def fail(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as failing:
        failing.setattr("poselift.formats.writers.csv.tidy_columns", fail)
        failing.setattr("poselift.formats.writers.csv._cells", fail)
        with pytest.raises(KeyboardInterrupt):
            write_poses(path, form_of("csv"), MANIFEST, [track_of()])
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("poses.csv", "of yesterday")]
    write_poses(path, form_of("csv"), MANIFEST, [track_of()])
    assert path.read_text().startswith("person,")


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "poses.npz")
    write_poses(tmp_path / "link.npz", form_of("npz"), MANIFEST, [track_of()])
    assert (tmp_path / "link.npz").is_symlink()
    with np.load(tmp_path / "poses.npz") as arrays:
        assert arrays["poses"].shape == (7, 17, 3)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_files_have_the_usual_permissions(tmp_path):
    write_poses(tmp_path / "poses.json", form_of("json"), MANIFEST, [track_of()])
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("poses.json", "other")]
    assert modes[0] == modes[1]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(OSError, match=r"poses\.json") as caught:
        write_poses(tmp_path / "nowhere" / "poses.json", form_of("json"), MANIFEST, [track_of()])
    assert caught.value.filename == str(tmp_path / "nowhere" / "poses.json")


def test_a_missing_package_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'ezc3d'", name="ezc3d")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        write_poses(tmp_path / "poses.c3d", form_of("c3d"), MANIFEST, [track_of()])
    assert list(tmp_path.iterdir()) == []


def test_what_a_form_cannot_hold_is_known_from_the_times():
    check_times(form_of("c3d"), [np.arange(65_534) / 30])
    with pytest.raises(InvalidFile, match=r"hold 65534 frames and these are 65535; write \.trc"):
        check_times(form_of("c3d"), [np.zeros(1), np.arange(65_535) / 30])
    gaps_s = np.array([0, 0.1, 0.2, 1e9])
    check_times(form_of("csv"), [gaps_s])
    with pytest.raises(InvalidFile, match="constant rate"):
        check_times(form_of("trc"), [gaps_s])


@pytest.mark.parametrize("form", [form for form in FORMS if form.needs_world], ids=lambda form: form.ending)
def test_motion_in_the_world_must_have_been_asked_for(tmp_path, form):
    with pytest.raises(InvalidFile, match=r"ask for it \(--world\)"):
        write_poses(tmp_path / f"walk{form.ending}", form, MANIFEST, [track_of()])
    assert list(tmp_path.iterdir()) == []
    assert form in usable_forms(world=True)
    assert form not in usable_forms(world=False)
