"""Runs one network on one device, in a thread of its own.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifact import Artifact
from poselift.lifters import Lifter
from poselift.lifting import finish

# A batch lasts at most about this long, because nothing can overtake one that runs.
_BATCH_S = 0.1
# Above this, larger batches have not made any device faster, they only take memory.
_LARGEST_BATCH_WINDOWS = 1024
# The smallest batch within this share of the best rate is taken: the rest of the speed is not worth the wait.
_ENOUGH_OF_BEST_RATE = 0.95
# Batch sizes at which numbers of threads are compared: a live frame alone, and a busy server.
_THREAD_TRIALS_WINDOWS = (1, 16)
_PASSES_PER_TRIAL = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """Consecutive windows of one sequence.

    Attributes:
        frames: [U, J, 2] float32 screen coordinates, each of them in one window at least.
        index: [W, N] int64 rows of `frames`.
    """

    frames: NDArray[np.float32]
    index: NDArray[np.int64]

    def part(self, start: int, stop: int) -> "Slice":
        """Some of the windows, with the frames they need."""
        if (start, stop) == (0, len(self.index)):
            return self
        used, rows = np.unique(self.index[start:stop], return_inverse=True)
        return Slice(self.frames[used], rows.reshape(stop - start, -1))


class Engine(Protocol):
    """What the batcher needs of whatever runs the network."""

    @property
    def batch_windows(self) -> int:
        """Most windows to hand over at a time."""

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice to [W, J, 3] metres, root at zero; may raise anything, and then none is lifted."""


class TorchEngine:
    """A lifter on the CPU or on a GPU, in eager PyTorch.

    Frames travel to the device once each and are embedded once each; windows are gathered there.
    """

    def __init__(self, artifact: Artifact, *, device: str, threads: int) -> None:
        """Args:
        device: "cpu", "cuda", or "auto" for the GPU when there is one.
        threads: CPU threads of the network; 0 to measure.
        Raises:
        RuntimeError: there is no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("there is no CUDA device, or this PyTorch cannot use it")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._manifest = artifact.manifest
        self._device = torch.device(device)
        self._lifter = cast(Lifter, cast(torch.nn.Module, artifact.lifter.for_inference()).to(self._device))
        self._threads = threads
        self._batch_windows = 1
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{artifact.manifest.name}")

    @property
    def batch_windows(self) -> int:
        return self._batch_windows

    async def warm_up(self) -> None:
        """Run the network at the batch sizes that will occur; settle on a number of threads and a largest batch."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self._warm_up)

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice to [W, J, 3] metres, root at zero.

        Raises:
            FloatingPointError: the network answered with something else than finite numbers.
            RuntimeError: the device failed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._lift, batch)

    def close(self) -> None:
        """Finish what runs and end the thread."""
        self._worker.shutdown()

    @torch.inference_mode()
    def _lift(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        frames, index = _join(batch)
        embedded = self._lifter.embed(torch.from_numpy(frames).to(self._device))
        windows = embedded[torch.from_numpy(index).to(self._device)]  # [W, N, C]
        joints = finish(self._lifter.aggregate(windows).centre, self._manifest).float().cpu().numpy()
        if not np.isfinite(joints).all():
            raise FloatingPointError(f"{self._manifest.name} answered with numbers that are not finite")
        return np.split(joints, np.cumsum([len(part.index) for part in batch])[:-1])

    def _warm_up(self) -> None:
        if self._device.type == "cpu":
            # Set here because PyTorch keeps the number per calling thread.
            torch.set_num_threads(self._threads or self._fastest_threads())
        self._batch_windows = self._best_batch()
        logger.info(
            "%s version %d is warm",
            self._manifest.name,
            self._manifest.version,
            extra={
                "fields": {
                    "device": str(self._device),
                    "threads": torch.get_num_threads(),
                    "batch_windows": self._batch_windows,
                }
            },
        )

    def _fastest_threads(self) -> int:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        candidates = sorted({1 << power for power in range(available.bit_length())} | {available})
        return min(candidates, key=self._time_with_threads)

    def _time_with_threads(self, threads: int) -> float:
        torch.set_num_threads(threads)
        # The product weighs a live frame's latency and a full server's rate alike.
        return math.prod(self._time_of_pass(windows) for windows in _THREAD_TRIALS_WINDOWS)

    def _best_batch(self) -> int:
        rates: dict[int, float] = {}
        windows = 1
        while windows <= _LARGEST_BATCH_WINDOWS:
            seconds = self._time_of_pass(windows)
            if seconds > _BATCH_S and rates:
                break
            rates[windows] = windows / seconds
            windows *= 2
        enough = _ENOUGH_OF_BEST_RATE * max(rates.values())
        return min(windows for windows, rate in rates.items() if rate >= enough)

    def _time_of_pass(self, windows: int) -> float:
        """Seconds that one batch of overlapping windows of noise takes, the fastest of several."""
        receptive_field = self._lifter.receptive_field
        shape = (windows + receptive_field - 1, self._manifest.source.n_joints, 2)
        frames = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        index = np.arange(windows)[:, None] + np.arange(receptive_field)
        seconds = []
        for _ in range(_PASSES_PER_TRIAL):
            started = time.monotonic()
            self._lift([Slice(frames, index)])
            seconds.append(time.monotonic() - started)
        return min(seconds)


def _join(batch: Sequence[Slice]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put the slices' frames one after another, and their windows [W, N] over them."""
    index, offset = [], 0
    for part in batch:
        index.append(part.index + offset)
        offset += len(part.frames)
    return np.concatenate([part.frames for part in batch]), np.concatenate(index)
