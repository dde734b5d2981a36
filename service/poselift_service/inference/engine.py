"""Runs a network in its own thread.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.networks.candidates import candidates
from poselift.networks.network import Candidates, NetworkVariant
from poselift.networks.slice import Slice
from poselift.networks.tuned import TunedNetwork

# Niceness of the threads that run the network, relative to the rest of the process.
_NICENESS = 5


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
        self._network = TunedNetwork(manifest, make_candidates)
        self._worker = ThreadPoolExecutor(
            1, thread_name_prefix=f"engine-{manifest.name}", initializer=_lower_thread_priority
        )

    @property
    def batch_windows(self) -> int:
        """Most windows to give the engine at a time; valid after `warm_up`."""
        return self._network.batch_windows

    @property
    def variant(self) -> NetworkVariant:
        """How the network is run; valid after `warm_up`."""
        return self._network.variant

    def padded(self, windows: int) -> int:
        """Return how many windows the network runs, padding included, for a batch of `windows`."""
        return self._network.padded(windows)

    async def warm_up(self) -> None:
        """Measure the candidates at the batch sizes that will occur; keep the fastest and release the others.

        Raises:
            EngineUnavailable: the poses of all candidates are too far from those of the reference.
        """
        await asyncio.get_running_loop().run_in_executor(self._worker, self._network.tune)

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice; raises as `TunedNetwork.lift`."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._lift_slices, batch)

    def close(self) -> None:
        """Finish the running batch, end the thread and release the network's memory on the device."""
        self._worker.shutdown()
        self._network.close()

    def _lift_slices(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        answers: dict[int, NDArray[np.float32]] = {}
        for for_targets in (False, True):  # the network answers these with one pose, others with poses of whole windows
            alike = {number: part for number, part in enumerate(batch) if (part.ahead is not None) == for_targets}
            if alike:
                answers |= zip(alike, self._lift_alike(list(alike.values())), strict=True)
        return [answers[number] for number in range(len(batch))]

    def _lift_alike(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        answers = self._network.lift(_join(batch))
        return np.split(answers, np.cumsum([len(part.index) for part in batch])[:-1])


def _lower_thread_priority() -> None:
    """Give the event loop precedence over this thread, and over the threads it starts, where CPU cores are scarce."""
    if sys.platform == "linux":  # on other systems it would apply to the whole process
        os.nice(_NICENESS)


def _join(batch: Sequence[Slice]) -> Slice:
    """Concatenate the slices' frames, and their windows [W, N] over them; all are answered for targets, or none."""
    index, offset = [], 0
    for part in batch:
        index.append(part.index + offset)
        offset += len(part.frames)
    ahead = [part.ahead for part in batch if part.ahead is not None]
    frames = np.concatenate([part.frames for part in batch])
    return Slice(frames, np.concatenate(index), np.concatenate(ahead) if ahead else None)
