"""Runs one network on one device, in a thread of its own.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift_service.inference.networks.autotune import Trial, choose
from poselift_service.inference.networks.candidates import candidates
from poselift_service.inference.networks.network import Candidates, Form, Network, padded_size

# By how much the threads that run the network are nicer than the rest of the process.
_NICENESS = 5

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
        index = self.index[start:stop]
        first = index.min()
        # Marking what is used takes a third of the time that sorting it does, and live frames wait meanwhile.
        used = np.zeros(index.max() + 1 - first, dtype=np.bool_)
        used[index - first] = True
        rows = np.cumsum(used) - 1
        return Slice(self.frames[first:][: len(used)][used], rows[index - first])


class Engine(Protocol):
    """What the batcher needs of whatever runs the network."""

    @property
    def batch_windows(self) -> int:
        """Most windows to hand over at a time."""

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice, as `Network.lift` does. May raise anything, and then none is lifted."""


def engine_for(artifact: Artifact, *, library: str, device: str, threads: int, precision: str) -> "NetworkEngine":
    """Make the engine of an artifact; before it is used it must be warmed up.

    Args:
        library: "torch", "openvino", or "auto" for the faster of those that are there.
        device: "cpu", "cuda", or "auto" for the GPU when there is one.
        threads: CPU threads of the network; 0 for the fastest number.
        precision: "float32", "bfloat16", "float16", or "auto" for the fastest that is near enough to float32.
    Raises:
        EngineUnavailable: there is no such device, the library is not installed, or they do not go together.
    """
    return NetworkEngine(
        artifact.manifest,
        candidates(artifact, library=library, device=device, threads=threads, precision=precision),
    )


class NetworkEngine:
    """Runs the fastest of several networks, which is found by measurement when it warms up."""

    def __init__(self, manifest: Manifest, make_candidates: Callable[[], Candidates]) -> None:
        self._manifest = manifest
        self._make_candidates: Callable[[], Candidates] | None = make_candidates
        self._network: Network | None = None
        self._batch_windows = 1
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{manifest.name}", initializer=_give_way)

    @property
    def batch_windows(self) -> int:
        """Most windows to hand over at a time; known once it is warm."""
        return self._batch_windows

    @property
    def form(self) -> Form:
        """How the network is run; known once it is warm."""
        return self._warm_network.form

    def padded(self, windows: int) -> int:
        """Windows that the network runs when it is given so many."""
        per_doubling = self._warm_network.sizes_per_doubling
        return windows if per_doubling is None else padded_size(windows, per_doubling)

    async def warm_up(self) -> None:
        """Measure the networks at the batch sizes that will occur, and keep the fastest; the others are let go of.

        Raises:
            EngineUnavailable: the poses of each are too far from those of the reference.
        """
        await asyncio.get_running_loop().run_in_executor(self._worker, self._warm_up)

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice, as `Network.lift` does.

        Raises:
            FloatingPointError: the network answered with something else than finite numbers.
            MemoryError: not even one window fits the device's memory.
            RuntimeError: the device failed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._lift, batch)

    def close(self) -> None:
        """Finish what runs and end the thread."""
        self._worker.shutdown()

    @property
    def _warm_network(self) -> Network:
        assert self._network is not None, "the engine is not warm"
        return self._network

    def _lift(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        answers = self._lift_joined(_join(batch))
        if not np.isfinite(answers).all():
            raise FloatingPointError(f"{self._manifest.name} answered with numbers that are not finite")
        return np.split(answers, np.cumsum([len(part.index) for part in batch])[:-1])

    def _lift_joined(self, joined: Slice) -> NDArray[np.float32]:
        windows = len(joined.index)
        # The padding is windows of the first frame alone.
        index = np.zeros((self.padded(windows), joined.index.shape[1]), dtype=np.int64)
        index[:windows] = joined.index
        try:
            return self._warm_network.lift(joined.frames, index)[:windows]
        except MemoryError:
            if windows == 1:
                raise
        self._batch_windows = max(1, min(self._batch_windows, windows) // 2)
        logger.warning(
            "%s ran out of memory with %d windows and takes %d at a time from now on",
            self._manifest.name,
            windows,
            self._batch_windows,
        )
        middle = windows // 2
        return np.concatenate([self._lift_joined(joined.part(*half)) for half in ((0, middle), (middle, windows))])

    def _warm_up(self) -> None:
        assert self._make_candidates is not None, "an engine warms up once"
        manifest = self._manifest
        choice = choose(self._make_candidates(), Trial.of(manifest))
        self._make_candidates = None  # it holds the artifact's weights
        self._network, self._batch_windows = choice.network, choice.batch_windows
        logger.info(
            "%s version %d is warm",
            manifest.name,
            manifest.version,
            extra={
                "fields": {
                    **asdict(choice.network.form),
                    "batch_windows": choice.batch_windows,
                    "windows_per_s": choice.windows_per_s,
                    "difference_m": choice.difference_m,
                }
            },
        )


def _give_way() -> None:
    """Let the event loop go before this thread, and before those that it starts, where processors are scarce."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.nice(_NICENESS)


def _join(batch: Sequence[Slice]) -> Slice:
    """Put the slices' frames one after another, and their windows [W, N] over them."""
    index, offset = [], 0
    for part in batch:
        index.append(part.index + offset)
        offset += len(part.frames)
    return Slice(np.concatenate([part.frames for part in batch]), np.concatenate(index))
