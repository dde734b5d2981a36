"""How fast training windows come: gathered in batches, against built one by one in Python.

    python -m tests.benchmarks.data_pipeline
    python -m tests.benchmarks.data_pipeline --root /data/h36m --keypoints cpn_ft_h36m_dbb --threads 2

The plain loader does what the official one does for each window: slice, pad by repeating the edge, thin out, mirror
every second window, and collate the samples of a batch in a DataLoader. Both yield the same windows of the same data.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from poselift_training.data.h36m import TRAIN_SUBJECTS, read_h36m
from poselift_training.data.sequences import Sequences, WindowBatches
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

TINY = Path(__file__).parents[1] / "golden" / "tiny_h36m"
BATCH_SIZE = 160
MEASURED_S = 3.0
# frames per window and stride: the official settings
SETTINGS = ((27, 1), (81, 1), (243, 2))


class WindowByWindow(Dataset[tuple[NDArray[np.float32], NDArray[np.float32]]]):
    """Each sequence's windows plain, then the same mirrored; one `__getitem__` builds one window."""

    def __init__(self, sequences: Sequences, frames: int, stride: int) -> None:
        lengths = sequences.lengths.tolist()
        self.keypoints = [part.numpy() for part in sequences.keypoints.split(lengths)]
        self.joints = [part.numpy() for part in sequences.joints.split(lengths)]
        self.left, self.right = list(sequences.skeleton.left), list(sequences.skeleton.right)
        self.reach, self.stride = (frames - 1) // 2 * stride, stride
        self.items = [
            (sequence, frame, mirrored)
            for sequence, length in enumerate(lengths)
            for mirrored in (False, True)
            for frame in range(length)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        sequence, frame, mirrored = self.items[item]
        return (
            self.cut(self.keypoints[sequence], frame, mirrored),
            self.cut(self.joints[sequence], frame, mirrored),
        )

    def cut(self, whole: NDArray[np.float32], frame: int, mirrored: bool) -> NDArray[np.float32]:
        first, last = frame - self.reach, frame + self.reach + 1
        inside = whole[max(first, 0) : min(last, len(whole))]
        missing = (max(0, -first), max(0, last - len(whole)))
        window = np.pad(inside, (missing, (0, 0), (0, 0)), "edge")[:: self.stride].copy()
        if mirrored:
            window[..., 0] *= -1
            window[:, self.left + self.right] = window[:, self.right + self.left]
        return window


def plain(sequences: Sequences, frames: int, stride: int) -> Callable[[], int]:
    loader = DataLoader(WindowByWindow(sequences, frames, stride), batch_size=BATCH_SIZE, shuffle=True)

    def forever() -> Iterator[int]:
        while True:
            for windows, _ in loader:
                yield len(windows)

    batches = forever()
    return lambda: next(batches)


def gathered(sequences: Sequences, frames: int, stride: int) -> Callable[[], int]:
    source = WindowBatches(sequences, frames=frames, stride=stride, batch_size=BATCH_SIZE, seed=1)
    steps = iter(range(1_000_000_000))
    return lambda: len(source.batch(next(steps)).windows)


def check_equal(sequences: Sequences, frames: int, stride: int) -> None:
    """The first windows of the data set and its last, mirrored one, come out alike."""
    one_by_one = WindowByWindow(sequences, frames, stride)
    source = WindowBatches(sequences, frames=frames, stride=stride, batch_size=1, seed=1)
    for item in (0, 1, 20, len(one_by_one) - 1):
        batch = source.windows(torch.tensor([item]))
        for ours, theirs in zip((batch.windows, batch.joints), one_by_one[item], strict=True):
            np.testing.assert_array_equal(ours[0].numpy(), theirs)


def windows_per_s(next_batch: Callable[[], int]) -> float:
    next_batch()
    windows, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MEASURED_S:
        windows += next_batch()
    return windows / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=TINY, help="a Human3.6M folder; the toy one by default")
    parser.add_argument("--keypoints", default="cpn_ft_h36m_dbb")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sequences = read_h36m(options.root, options.keypoints, TRAIN_SUBJECTS)
    table = Table(
        "frames", "stride", "window by window / s", "gathered / s", "ratio", title="training windows per second"
    )
    for frames, stride in SETTINGS:
        check_equal(sequences, frames, stride)
        baseline, ours = (windows_per_s(make(sequences, frames, stride)) for make in (plain, gathered))
        table.add_row(str(frames), str(stride), f"{baseline:,.0f}", f"{ours:,.0f}", f"{ours / baseline:.1f} x")
    Console().print(table)


if __name__ == "__main__":
    main()
