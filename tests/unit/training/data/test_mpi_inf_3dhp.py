from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train

from poselift.coordinates import to_screen
from poselift.errors import InvalidDataset
from tests.golden_files import GOLDEN

TINY = GOLDEN / "tiny_3dhp"


def load(name: str) -> Any:
    return np.load(TINY / name, allow_pickle=True)["data"].item()


def save(root: Path, name: str, content: Any) -> None:
    np.savez(root / name, data=np.array(content, dtype=object))


def test_training_sequences_are_read_camera_by_camera() -> None:
    people = read_3dhp_train(TINY)
    raw = load("data_train_3dhp.npz")
    cameras = [(name, camera) for name in raw for camera in raw[name][0]]
    read = zip(people.subjects, people.actions, people.cameras, strict=True)
    assert [(f"{subject} {action}", camera) for subject, action, camera in read] == cameras
    assert people.unit_m == 0.001
    assert people.frame_rate_hz is None
    first = torch.from_numpy(raw["S1 Seq1"][0]["0"]["data_3d"])
    torch.testing.assert_close(people.joints[:40] + people.roots[:40, None], first, rtol=0, atol=1e-3)
    assert not people.joints[:, 14].any()


def test_only_valid_frames_are_marked_for_scoring() -> None:
    people = read_3dhp_test(TINY)
    raw = load("data_test_3dhp.npz")
    assert people.actions == tuple(raw)
    assert people.lengths.tolist() == [len(view["data_2d"]) for view in raw.values()]
    assert people.valid.tolist() == [bool(flag) for view in raw.values() for flag in view["valid"]]
    assert int(people.valid.sum()) == 286


@pytest.mark.parametrize(
    ("name", "size_px"), [("TS1", (2048, 2048)), ("TS4", (2048, 2048)), ("TS5", (1920, 1080)), ("TS6", (1920, 1080))]
)
def test_the_outdoor_sequences_have_another_picture_size(name: str, size_px: tuple[int, int]) -> None:
    people = read_3dhp_test(TINY)
    sequence = people.actions.index(name)
    first = people.keypoints[people.starts[sequence]].numpy()
    pixels = load("data_test_3dhp.npz")[name]["data_2d"][0]
    np.testing.assert_allclose(first, to_screen(pixels, *size_px), atol=1e-6)


def test_files_of_another_structure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"data_train_3dhp\.npz is missing"):
        read_3dhp_train(tmp_path)
    save(tmp_path, "data_train_3dhp.npz", {"S1 Seq1": [{"0": {"data_2d": np.zeros((4, 17, 2))}}, 25]})
    with pytest.raises(InvalidDataset, match="'S1 Seq1'"):
        read_3dhp_train(tmp_path)
    save(tmp_path, "data_test_3dhp.npz", {"TS1": {"data_2d": np.zeros((4, 17, 2)), "data_3d": np.zeros((4, 17, 3))}})
    with pytest.raises(InvalidDataset, match="'TS1'"):
        read_3dhp_test(tmp_path)
    view = {"data_2d": np.zeros((4, 17, 2)), "data_3d": np.zeros((4, 28, 3)), "valid": np.ones(4)}
    save(tmp_path, "data_test_3dhp.npz", {"TS1": view})
    with pytest.raises(InvalidDataset, match=r"not \[4, 17, 2\] and \[4, 28, 3\]"):
        read_3dhp_test(tmp_path)
