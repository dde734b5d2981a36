"""Runs a network in its own thread.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift_service.inference.batch_limit import BatchLimit
from poselift_service.inference.networks.autotune import Benchmark, choose
from poselift_service.inference.networks.candidates import candidates
from poselift_service.inference.networks.network import Candidates, Network, NetworkVariant, padded_size
from poselift_service.inference.slice import Slice

# Niceness of the threads that run the network, relative to the rest of the process.
_NICENESS = 5

logger = logging.getLogger(__name__)


def engine_for(artifact: Artifact, *, library: str, device: str, threads: int, precision: str) -> "NetworkEngine":
    """Create the engine of an artifact; `warm_up` must run before it is used.

    Args:
        library: "torch", "openvino", or "auto" for the faster of those installed.
        device: "cpu", "cuda", or "auto" for the GPU if there is one.
        threads: CPU threads of the network; 0 for the fastest number.
        precision: "float32", "tf32", "bfloat16", "float16", or "auto" for the faster of the first two.
    Raises:
        EngineUnavailable: there is no such device, the library is not installed, or the options are incompatible.
    """
    return NetworkEngine(
        artifact.manifest,
        candidates(artifact, library=library, device=device, threads=threads, precision=precision),
    )


class NetworkEngine:
    """Runs the fastest of several candidate networks; `warm_up` measures which one that is."""

    def __init__(self, manifest: Manifest, make_candidates: Callable[[], Candidates]) -> None:
        self._manifest = manifest
        self._make_candidates: Callable[[], Candidates] | None = make_candidates
        self._network: Network | None = None
        self._limit = BatchLimit(1)
        self._worker = ThreadPoolExecutor(
            1, thread_name_prefix=f"engine-{manifest.name}", initializer=_lower_thread_priority
        )

    @property
    def batch_windows(self) -> int:
        """Most windows to give the engine at a time; valid after `warm_up`."""
        return self._limit.windows

    @property
    def variant(self) -> NetworkVariant:
        """How the network is run; valid after `warm_up`."""
        return self._warm_network.variant

    def padded(self, windows: int) -> int:
        """Return how many windows the network runs, padding included, for a batch of `windows`."""
        per_doubling = self._warm_network.sizes_per_doubling
        return windows if per_doubling is None else padded_size(windows, per_doubling)

    async def warm_up(self) -> None:
        """Measure the candidates at the batch sizes that will occur; keep the fastest and release the others.

        Raises:
            EngineUnavailable: the poses of all candidates are too far from those of the reference.
        """
        await asyncio.get_running_loop().run_in_executor(self._worker, self._warm_up)

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice, as `Network.lift` does.

        Raises:
            FloatingPointError: the network answered with numbers that are not finite.
            MemoryError: not even one window fits into the device's memory.
            DeviceLost: the device no longer works.
            RuntimeError: the device failed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._lift_slices, batch)

    def close(self) -> None:
        """Finish the running batch, end the thread and release the network's memory on the device."""
        self._worker.shutdown()
        if self._network is not None:
            self._network.close()

    @property
    def _warm_network(self) -> Network:
        assert self._network is not None, "the engine is not warm"
        return self._network

    def _lift_slices(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        answers = self._lift_joined(_join(batch))
        if not np.isfinite(answers).all():
            raise FloatingPointError(f"{self._manifest.name} answered with numbers that are not finite")
        return np.split(answers, np.cumsum([len(part.index) for part in batch])[:-1])

    def _lift_joined(self, joined: Slice) -> NDArray[np.float32]:
        windows = len(joined.index)
        # Padding windows consist of the first frame alone.
        index = np.zeros((self.padded(windows), joined.index.shape[1]), dtype=np.int64)
        index[:windows] = joined.index
        try:
            return self._warm_network.lift(joined.frames, index)[:windows]
        except MemoryError:
            if windows == 1:
                raise
        logger.warning(
            "%s ran out of memory with %d windows and takes %d at a time for %.0f s",
            self._manifest.name,
            windows,
            *self._limit.halve(windows),
        )
        middle = windows // 2
        return np.concatenate([self._lift_joined(joined.part(*half)) for half in ((0, middle), (middle, windows))])

    def _warm_up(self) -> None:
        assert self._make_candidates is not None, "an engine warms up once"
        manifest = self._manifest
        choice = choose(self._make_candidates(), Benchmark.of(manifest))
        self._make_candidates = None  # it holds the artifact's weights
        self._network, self._limit = choice.network, BatchLimit(choice.batch_windows)
        logger.info(
            "%s version %d is warm",
            manifest.name,
            manifest.version,
            extra={
                "fields": {
                    **asdict(choice.network.variant),
                    "batch_windows": choice.batch_windows,
                    "windows_per_s": choice.windows_per_s,
                    "difference_m": choice.difference_m,
                }
            },
        )


def _lower_thread_priority() -> None:
    """Give the event loop precedence over this thread, and over the threads it starts, where CPU cores are scarce."""
    if sys.platform == "linux":  # on other systems it would apply to the whole process
        os.nice(_NICENESS)


def _join(batch: Sequence[Slice]) -> Slice:
    """Concatenate the slices' frames, and their windows [W, N] over them."""
    index, offset = [], 0
    for part in batch:
        index.append(part.index + offset)
        offset += len(part.frames)
    return Slice(np.concatenate([part.frames for part in batch]), np.concatenate(index))
