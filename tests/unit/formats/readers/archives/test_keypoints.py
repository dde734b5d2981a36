"""The layouts of arrays of keypoints."""

import pickle
import zipfile
from collections import Counter
from typing import Any

import numpy as np
import pytest

from poselift.errors import InvalidFile, InvalidKeypoints
from poselift.formats.readers.archives.archive import Archive
from poselift.formats.readers.archives.keypoints import read_mmaction
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, FRAMES, SIZE, assert_keypoints, keypoints, with_holes

ASKED: Any = {"skeleton": "coco17", "fps": FPS, "image_size": SIZE}
ONE, OTHER = keypoints(), keypoints(seed=1, place=(500, 200))


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def only(path, **given):
    ((track_id, sequence, _),), warnings = read_keypoints(path, **(ASKED | given))
    assert track_id is None
    return sequence, warnings


def test_scores_in_an_array_of_their_own(data, sample):
    sequence, warnings = only(data / "scores_apart.npz", fps=60, image_size=(1080, 1920))
    assert warnings == ()
    hidden = [sequence.skeleton.joint_names.index(joint) for joint in ("left_elbow", "left_wrist")]
    np.testing.assert_allclose(sequence.keypoints[:, hidden, 2], [[0.05, 0]] * 30)  # the wrist lies at 0, 0
    seen = np.delete(np.arange(17), hidden)
    np.testing.assert_allclose(sequence.keypoints[:, seen], sample[:30, seen], atol=0.06)


@pytest.mark.parametrize("name", ["scores", "keypoint_scores", "confidence"])
@pytest.mark.parametrize("shape", [(FRAMES, 17), (FRAMES, 17, 1), (FRAMES, 1, 17)])
@pytest.mark.parametrize("people", [(), (1,)])
def test_names_and_shapes_of_scores(tmp_path, name, shape, people):
    positions = ONE[..., :2].reshape(FRAMES, *people, 17, 2)
    sequence, warnings = only(saved(tmp_path, keypoints=positions, **{name: ONE[..., 2].reshape(shape)}))
    assert_keypoints(sequence, ONE)
    assert warnings == ()


def test_scores_of_another_shape_are_refused(tmp_path):
    path = saved(tmp_path, keypoints=ONE[..., :2], scores=np.ones(FRAMES))
    with pytest.raises(
        InvalidFile, match=r"scores must be numbers \[4, 17\], one per joint of keypoints, not .* \[4\]"
    ):
        read_keypoints(path, **ASKED)


def test_an_array_that_is_not_used_is_named_in_a_warning(tmp_path):
    _, warnings = only(saved(tmp_path, keypoints=ONE, boxes=np.zeros((4, 4)), visibility=np.ones((4, 17))))
    assert [(warning.code, warning.path) for warning in warnings] == [
        ("unused_array", "boxes"),
        ("unused_array", "visibility"),
    ]


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_one_person(tmp_path, axis):
    detected = with_holes(ONE)
    sequence, _ = only(saved(tmp_path, keypoints=np.expand_dims(detected, axis)))
    assert_keypoints(sequence, detected)


@pytest.mark.parametrize("nobody", [0.0, np.nan])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_people(tmp_path, axis, nobody):
    """Whoever is away holds NaN or zeros; who is never there is left out."""
    array = np.stack([ONE, np.full_like(ONE, nobody), OTHER], axis)
    array[1 if axis else 2, 2 if axis else 1] = nobody
    tracks, _ = read_keypoints(saved(tmp_path, keypoints=array), **ASKED)
    assert [track.track_id for track in tracks] == ["0", "2"]
    assert_keypoints(tracks[0].sequence, ONE)
    assert np.isnan(tracks[1].sequence.keypoints[1, :, 0]).all()
    np.testing.assert_allclose(tracks[1].sequence.keypoints[[0, 2, 3]], OTHER[[0, 2, 3]])


def test_people_who_change_their_places_are_not_mixed_up(tmp_path):
    one, other = (keypoints[[0] * FRAMES] for keypoints in (ONE, OTHER))
    array = np.stack([one, other], 1)
    array[2] = array[2, ::-1]
    tracks, warnings = read_keypoints(saved(tmp_path, keypoints=array), **ASKED)
    assert [warning.code for warning in warnings] == ["people_followed"]
    assert_keypoints(tracks[0].sequence, one)
    assert_keypoints(tracks[1].sequence, other)


def test_a_reconstruction_archive(data, sample):
    path = data / "reconstruction.npz"
    ((track_id, sequence, _),), warnings = read_keypoints(path, fps=30, image_size=(1080, 1920))
    assert (track_id, sequence.skeleton.name, warnings) == (None, "h36m17", ())
    assert sequence.keypoints.shape == (30, 17, 3)
    names = sequence.skeleton.joint_names
    np.testing.assert_allclose(sequence.keypoints[:, names.index("left_wrist"), :2], sample[:30, 9, :2], atol=0.06)
    pelvis = sample[:30, 11:13, :2].mean(axis=1)
    np.testing.assert_allclose(sequence.keypoints[:, names.index("pelvis"), :2], pelvis, atol=0.06)


def test_a_reconstruction_of_several_people(tmp_path):
    path = saved(tmp_path, reconstruction=np.stack([ONE[..., :2]] * 1 + [OTHER[..., :2]]))
    tracks, _ = read_keypoints(path, fps=FPS, image_size=SIZE)
    assert [track.track_id for track in tracks] == ["0", "1"]
    np.testing.assert_allclose(tracks[1].sequence.keypoints[..., :2], OTHER[..., :2])


@pytest.mark.parametrize("array", [ONE, ONE[..., :2], ONE[:, None], ONE.astype(np.float64), np.asfortranarray(ONE)])
def test_a_single_array(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    sequence, _ = only(tmp_path / "a.npy")
    np.testing.assert_allclose(sequence.keypoints[..., :2], ONE[..., :2], rtol=1e-6)


@pytest.mark.parametrize("array", [np.zeros(3), np.array(["a"]), np.zeros((2, 17, 4)), np.zeros((0, 17, 2))])
def test_a_single_array_of_something_else(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InvalidFile, match=r"keypoints must be numbers \[frames, joints, 2 or 3\]"):
        read_keypoints(tmp_path / "a.npy", **ASKED)


@pytest.mark.parametrize("name", ["arr_0", "pose2d", "kp"])
def test_the_only_array_of_positions_whatever_its_name(tmp_path, name):
    sequence, warnings = only(saved(tmp_path, **{name: ONE[..., :2], "boxes": np.zeros((4, 4)), "scores": ONE[..., 2]}))
    assert_keypoints(sequence, ONE)
    assert [warning.path for warning in warnings] == ["boxes"]


def test_two_arrays_of_positions_have_to_be_told_apart(tmp_path):
    with pytest.raises(InvalidFile, match="no array keypoints, only: left, right"):
        read_keypoints(saved(tmp_path, left=ONE[..., :2], right=ONE[..., :2]), **ASKED)


def test_3d_positions_are_no_scores(tmp_path):
    poses = np.random.default_rng(0).normal(size=(4, 17, 3))
    np.save(tmp_path / "a.npy", poses)
    for path in (tmp_path / "a.npy", saved(tmp_path, keypoints=poses)):
        with pytest.raises(InvalidFile, match="keypoints holds 3D positions: the third number of a joint reaches -"):
            read_keypoints(path, **ASKED)


@pytest.mark.parametrize(("joints", "skeleton"), [(18, "coco18"), (26, "halpe26"), (133, "wholebody133")])
def test_a_skeleton_that_only_one_number_of_joints_can_mean(tmp_path, joints, skeleton):
    ((_, sequence, _),), warnings = read_keypoints(
        saved(tmp_path, keypoints=keypoints(joints)), fps=FPS, image_size=SIZE
    )
    assert (sequence.skeleton.name, warnings) == (skeleton, ())


def test_17_joints_may_be_those_of_several_skeletons(tmp_path):
    with pytest.raises(InvalidFile, match="--skeleton"):
        read_keypoints(saved(tmp_path, keypoints=ONE), fps=FPS, image_size=SIZE)


@pytest.mark.parametrize("name", ["poses", "7/poses"])
def test_poses_are_no_keypoints(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open(f"{name}.npy", "w") as file:
        np.save(file, np.zeros((4, 17, 3)))
    with pytest.raises(InvalidFile, match="3D poses, not keypoints; poselift complete"):
        read_keypoints(tmp_path / "a.npz", **ASKED)


def test_nobody_is_in_it(tmp_path):
    with pytest.raises(InvalidFile, match="nobody"):
        read_keypoints(saved(tmp_path, keypoints=np.zeros((4, 17, 2))), **ASKED)


def test_a_nan_that_processors_signal_is_a_missing_joint(tmp_path):
    signalling = ONE[..., :2].copy()
    signalling.view(np.uint32)[1, 3] = 0x7FA00001
    sequence, _ = only(saved(tmp_path, keypoints=signalling, scores=ONE[..., 2]))
    assert np.argwhere(np.isnan(sequence.keypoints[..., 0])).tolist() == [[1, 3]]


@pytest.mark.parametrize("value", [2e6, -2e6, 1e300, np.inf])
def test_numbers_that_are_no_places(tmp_path, value):
    far = ONE.astype(np.float64)
    far[2, 5, 0] = value
    with pytest.raises(InvalidKeypoints, match=r"keypoints\[2\]\[5\]"):
        read_keypoints(saved(tmp_path, keypoints=far), **ASKED)


def mmaction(**more):
    """One annotation as PYSKL and MMAction2 keep it: people, frames, joints."""
    return {
        "frame_dir": "clip",
        "label": 3,
        "img_shape": (480, 640),
        "total_frames": FRAMES,
        "keypoint": np.stack([ONE[..., :2], OTHER[..., :2]]).astype(np.float16),
        "keypoint_score": np.stack([ONE[..., 2], OTHER[..., 2]]).astype(np.float16),
        **more,
    }


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_dictionary_of_mmaction(tmp_path, wrapped):
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps([mmaction()] if wrapped else mmaction()))
    tracks, warnings = read_keypoints(path, fps=FPS)
    assert [warning.code for warning in warnings] == ["skeleton_guessed"]
    assert [track.track_id for track in tracks] == ["0", "1"]
    assert tracks[0].sequence.skeleton.name == "coco17"
    assert read_keypoints(path, fps=FPS, skeleton="coco17").warnings == ()
    np.testing.assert_allclose(tracks[1].sequence.keypoints[..., :2], OTHER[..., :2], atol=0.3)
    assert (tracks[0].sequence.width_px, tracks[0].sequence.height_px) == (640, 480)


class CountedArchive(Archive):
    """An archive that counts how often each array is read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(archive)
        self.reads = Counter[str]()

    def __getitem__(self, key: str) -> Any:
        self.reads[key] += 1
        return super().__getitem__(key)


def test_the_keypoints_of_an_archive_are_read_once(tmp_path):
    path = saved(tmp_path, **mmaction())
    with zipfile.ZipFile(path) as file:
        archive = CountedArchive(file)
        assert read_mmaction(archive).skeleton == "coco17"
    assert archive.reads["keypoint"] == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"split": {}, "annotations": [1, 2]}, "a data set of 2 videos; save one"),
        ([], "a pickle without a dictionary of arrays"),
        ({"label": 3}, "no array keypoints"),
    ],
)
def test_other_pickles(tmp_path, content, complaint):
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InvalidFile, match=complaint):
        read_keypoints(path, fps=FPS)
