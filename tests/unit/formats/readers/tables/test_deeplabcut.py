"""DeepLabCut's CSV, as pandas writes it."""

import numpy as np
import pandas as pd
import pytest

from poselift.errors import InvalidFile
from tests.unit.formats.readers.tables.tables import COCO, assert_holds, read, shifted

COORDS = ("x", "y", "likelihood")


def of_one(detected, index=None, joints=COCO, coords=COORDS):
    names = ["scorer", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([["DLC_resnet50"], joints, coords], names=names)
    return pd.DataFrame(detected[..., : len(coords)].reshape(len(detected), -1), columns=columns, index=index)


def of_several(people, names):
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([["DLC_dlcrnet"], names, COCO, COORDS], names=levels)
    return pd.DataFrame(np.concatenate([person.reshape(len(person), -1) for person in people], 1), columns=columns)


def test_one_person(tmp_path, detected):
    of_one(detected).to_csv(tmp_path / "a.csv")
    assert_holds(tmp_path / "a.csv", detected)


def test_joints_that_are_nan_are_missing(tmp_path, detected):
    holes = detected.copy()
    holes[3, 4] = np.nan
    of_one(holes).to_csv(tmp_path / "a.csv")
    assert_holds(tmp_path / "a.csv", holes)


def test_several_people(tmp_path, detected):
    other = shifted(detected)
    other[2] = np.nan
    of_several([detected, other], ["anna", "bert"]).to_csv(tmp_path / "a.csv")
    tracks, _ = read(tmp_path / "a.csv")
    assert [track.track_id for track in tracks] == ["anna", "bert"]
    np.testing.assert_allclose(tracks[0].sequence.keypoints, detected, atol=1e-3)
    assert np.isnan(tracks[1].sequence.keypoints[2, :, 0]).all()


@pytest.mark.parametrize("parts", [1, 3])
def test_labels_of_pictures(tmp_path, detected, parts):
    """Annotations have no likelihood; a picture is named in one column, or in three."""
    pictures = [("labeled-data", "clip", f"img{number + 5:04}.png") for number in range(len(detected))]
    index = pd.MultiIndex.from_tuples(pictures) if parts == 3 else ["/".join(picture) for picture in pictures]
    of_one(detected, index, coords=("x", "y")).to_csv(tmp_path / "a.csv")
    (track,), _ = read(tmp_path / "a.csv")
    assert track.first_frame == 5
    np.testing.assert_allclose(track.sequence.keypoints[..., :2], detected[..., :2], atol=1e-3)


def test_a_model_of_people_with_numbered_sides(tmp_path, detected):
    """DeepLabCut's full_human: 1 is the right side, 2 the left."""
    limbs = {f"{joint}{side}" for joint in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder") for side in "12"}
    places = {name: COCO.index(("right_" if name[-1] == "1" else "left_") + name[:-1]) for name in sorted(limbs)}
    of_one(detected[:, list(places.values())], joints=list(places)).to_csv(tmp_path / "a.csv")
    (track,), _ = read(tmp_path / "a.csv")
    assert track.sequence.skeleton.name == "coco17"
    np.testing.assert_allclose(track.sequence.keypoints[:, 5:], detected[:, 5:], atol=1e-3)
    assert np.isnan(track.sequence.keypoints[:, :5, 0]).all()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("scorer,a,a\nbodyparts,b,b\n0,1,2\n", "no row that begins with coords"),
        ("scorer,a,a\ncoords,x,y\n0,1,2\n", "no rows that begin with bodyparts and coords"),
        ("scorer,a,a\nbodyparts,b,b\ncoords,u,v\n0,1,2\n", "names no x and y"),
        ("scorer,a,a\nbodyparts,b\ncoords,x,y\n0,1,2\n", "different lengths"),
        ("scorer,a,a\nbodyparts,snout,snout\ncoords,x,y\n0,1,2\n", "its joints are named snout; needed are"),
        ("scorer,a,a\nbodyparts,b,b\ncoords,x,y\n", "no rows below them"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, complaint):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InvalidFile, match=complaint):
        read(tmp_path / "a.csv")


def test_several_videos_in_one_table(tmp_path, detected):
    of_one(detected, [f"{clip}/img000.png" for clip in range(len(detected))]).to_csv(tmp_path / "a.csv")
    with pytest.raises(InvalidFile, match="a frame is there twice"):
        read(tmp_path / "a.csv")
