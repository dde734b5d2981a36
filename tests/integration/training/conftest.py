"""Data for training runs, and the command line options that let a smoke recipe run on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from poselift_training.data.clips import Clip, write_clips

# A standing figure, Human3.6M joints, metres, z up.
STANDING = np.array(
    [
        *[
            (0, 0, 0.9),
            (-0.1, 0, 0.9),
            (-0.1, 0.02, 0.5),
            (-0.1, 0, 0.09),
            (0.1, 0, 0.9),
            (0.1, 0.02, 0.5),
            (0.1, 0, 0.09),
        ],
        *[(0, 0, 1.12), (0, 0, 1.4), (0, 0.1, 1.5), (0, 0.02, 1.65)],
        *[(0.17, 0, 1.38), (0.19, 0, 1.1), (0.2, 0.05, 0.85), (-0.17, 0, 1.38), (-0.19, 0, 1.1), (-0.2, 0.05, 0.85)],
    ]
)


@pytest.fixture(scope="session")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips of a swaying figure: one to train on, one to be judged by."""
    root = tmp_path_factory.mktemp("mocap")
    phases = np.arange(80)[:, None, None] / 12 + np.arange(17)[:, None]
    for split in ("train", "val"):
        joints = STANDING + 0.05 * np.sin(phases) * np.array([1.0, 1.0, 0.3])
        clip = Clip("sway", f"one_{split}", joints, split, "made up", "CC0-1.0", "swaying")
        write_clips(root / f"made_up_{split}.npz", [clip])
    return root


@pytest.fixture
def options(mocap: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Command line options that let a smoke recipe run on those clips, for a few steps."""

    def with_more(*more: str) -> list[str]:
        given = (f"data.root={mocap}", f"runs={tmp_path}/runs", f"publish.repository={tmp_path}/models")
        small = ("steps=12", "validate_every_steps=6", "batch_size=8", 'data.splits=["train"]', "accelerator=cpu")
        return [f"--override={override}" for override in (*given, *small, *more)]

    return with_more


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As the processes started below: the order of sums must not depend on the number of threads."""
    torch.set_num_threads(1)
