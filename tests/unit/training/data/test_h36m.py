from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poselift_training.data.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_h36m

from poselift.coordinates import project_pinhole
from poselift.errors import InvalidDataset
from tests.golden_files import GOLDEN

TINY = GOLDEN / "tiny_h36m"
# The toy detections called "gt" are projections stored as float32 pixels.
PROJECTED = 1e-5


def load(file: Path, key: str) -> Any:
    return np.load(file, allow_pickle=True)[key].item()


def save(file: Path, key: str, content: Any) -> None:
    arrays: Any = {key: np.array(content, dtype=object)}
    np.savez(file, **arrays)


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[str, Callable[[Any], None]], Path]:
    """The toy data set with one of its two dicts changed."""

    def alter(which: str, change: Callable[[Any], None]) -> Path:
        for key, name in (("positions_3d", "data_3d_h36m.npz"), ("positions_2d", "data_2d_h36m_gt.npz")):
            content = load(TINY / name, key)
            if key == which:
                change(content)
            save(tmp_path / name, key, content)
        return tmp_path

    return alter


def test_every_trial_is_read_from_four_cameras() -> None:
    people = read_h36m(TINY, "gt", TEST_SUBJECTS)
    takes = [
        (subject, action)
        for subject in TEST_SUBJECTS
        for action in load(TINY / "data_3d_h36m.npz", "positions_3d")[subject]
    ]
    assert len(people.lengths) == 4 * len(takes)
    assert people.subjects == tuple(subject for subject, _ in takes for _ in range(4))
    assert people.actions == tuple(action.split(" ")[0] for _, action in takes for _ in range(4))
    assert len(set(people.cameras)) == 4
    assert people.valid.all()
    assert not people.joints[:, 0].any()


def test_longer_2d_is_cut_to_the_motion_capture() -> None:
    people = read_h36m(TINY, "cpn_ft_h36m_dbb", TRAIN_SUBJECTS)
    longest = max(
        len(view) for view in load(TINY / "data_2d_h36m_cpn_ft_h36m_dbb.npz", "positions_2d")["S1"]["Sitting 1"]
    )
    sitting = [
        int(n)
        for n, s, a in zip(people.lengths, people.subjects, people.actions, strict=True)
        if (s, a) == ("S1", "Sitting")
    ]
    assert sitting == [55] * 4
    assert longest == 57


def test_the_cameras_project_the_joints_onto_the_true_keypoints() -> None:
    people = read_h36m(TINY, "gt", TEST_SUBJECTS)
    assert people.intrinsics is not None
    camera = people.intrinsics[people.sequence_of_frame]
    # The toy cameras have no lens distortion.
    seen = project_pinhole(people.joints + people.roots[:, None], camera[:, :2], camera[:, 2:4])
    torch.testing.assert_close(seen, people.keypoints, rtol=0, atol=PROJECTED)


def test_2d_shorter_than_the_motion_capture_is_refused(altered: Callable[..., Path]) -> None:
    def cut(positions: Any) -> None:
        positions["S9"]["Eating"][2] = positions["S9"]["Eating"][2][:50]

    with pytest.raises(InvalidDataset, match=r"S9 'Eating'.*only 50 of 58 frames"):
        read_h36m(altered("positions_2d", cut), "gt", TEST_SUBJECTS)


def test_an_action_in_only_one_file_is_refused(altered: Callable[..., Path]) -> None:
    with pytest.raises(InvalidDataset, match="Action 'Photo' of S11 is in only one"):
        read_h36m(altered("positions_2d", lambda positions: positions["S11"].pop("Photo")), "gt", TEST_SUBJECTS)


def test_a_missing_camera_is_refused(altered: Callable[..., Path]) -> None:
    with pytest.raises(InvalidDataset, match="3 cameras"):
        read_h36m(altered("positions_2d", lambda positions: positions["S9"]["Eating"].pop()), "gt", TEST_SUBJECTS)


def test_other_skeletons_are_refused(altered: Callable[..., Path]) -> None:
    def reduce(positions: Any) -> None:
        positions["S9"]["Eating"] = positions["S9"]["Eating"][:, :17]

    with pytest.raises(InvalidDataset, match=r"\[58, 17, 3\], not \[frames, 32, 3\]"):
        read_h36m(altered("positions_3d", reduce), "gt", TEST_SUBJECTS)


@pytest.mark.parametrize(
    ("keypoints", "subjects", "message"),
    [
        ("hrnet", TEST_SUBJECTS, "data_2d_h36m_hrnet.npz is missing"),
        ("gt", ("S2",), "Subject S2"),
        ("gt", (), "no sequence"),
    ],
)
def test_missing_data_is_named(keypoints: str, subjects: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        read_h36m(TINY, keypoints, subjects)
