"""Runs one network on one device, in a thread of its own.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poselift.artifact import Artifact, Manifest
from service.candidates import Candidates, candidates
from service.network import Form, Network, padded_size
from service.warm_up import Trial

# Libraries that run the same network in float32 agree to a few millionths. One that is further off is broken.
_SAME_POSES_M = 1e-4

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
        """Lift each slice to [W, J, 3] metres, root at zero; may raise anything, and then none is lifted."""


def engine_for(artifact: Artifact, *, library: str, device: str, threads: int) -> "NetworkEngine":
    """Make the engine of an artifact; before it is used it must be warmed up.

    Args:
        library: "torch", "openvino", or "auto" for the faster of those that are there.
        device: "cpu", "cuda", or "auto" for the GPU when there is one.
        threads: CPU threads of the network; 0 for the fastest number.
    Raises:
        EngineUnavailable: there is no such device, the library is not installed, or it cannot use the device.
    """
    return NetworkEngine(artifact.manifest, candidates(artifact, library=library, device=device, threads=threads))


class NetworkEngine:
    """Runs the fastest of several networks, which is found by measurement when it warms up."""

    def __init__(self, manifest: Manifest, make_networks: Callable[[], Candidates]) -> None:
        self._manifest = manifest
        self._make_networks: Callable[[], Candidates] | None = make_networks
        self._network: Network | None = None
        self._batch_windows = 1
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{manifest.name}")

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
        """Measure the networks at the batch sizes that will occur, and keep the fastest; the others are let go of."""
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

    @property
    def _warm_network(self) -> Network:
        assert self._network is not None, "the engine is not warm"
        return self._network

    def _lift(self, batch: Sequence[Slice]) -> list[NDArray[np.float32]]:
        frames, index = _join(batch)
        # The padding is windows of the first frame alone.
        padded = np.zeros((self.padded(len(index)), index.shape[1]), dtype=np.int64)
        padded[: len(index)] = index
        joints = self._warm_network.lift(frames, padded)[: len(index)]
        if not np.isfinite(joints).all():
            raise FloatingPointError(f"{self._manifest.name} answered with numbers that are not finite")
        return np.split(joints, np.cumsum([len(part.index) for part in batch])[:-1])

    def _warm_up(self) -> None:
        assert self._make_networks is not None, "an engine warms up once"
        manifest = self._manifest
        holes = manifest.missing_joints == "token"
        trial = Trial(manifest.source.n_joints, manifest.network["frames"], holes=holes)
        networks = [trial.fastest(group) for group in self._make_networks()]
        self._make_networks = None  # it holds the artifact's weights
        differences_m = self._differences_m(trial, networks)
        networks = [network for network in networks if differences_m[network.form.library] <= _SAME_POSES_M]
        paces = trial.paces(networks)
        self._network, pace = max(zip(networks, paces, strict=True), key=lambda both: both[1].score)
        self._batch_windows = pace.batch_windows
        rates = {network.form.library: pace.windows_per_s for network, pace in zip(networks, paces, strict=True)}
        logger.info(
            "%s version %d is warm",
            manifest.name,
            manifest.version,
            extra={
                "fields": {
                    **asdict(self.form),
                    "batch_windows": self._batch_windows,
                    "windows_per_s": {
                        library: {windows: round(rate, 1) for windows, rate in by_windows.items()}
                        for library, by_windows in rates.items()
                    },
                    "difference_m": differences_m,
                }
            },
        )

    def _differences_m(self, trial: Trial, networks: Sequence[Network]) -> dict[str, float]:
        """By library, the largest distance of any coordinate to that of the first network."""
        first, *others = ((network.form.library, trial.poses(network)) for network in networks)
        differences = {first[0]: 0.0}
        for library, poses in others:
            differences[library] = float(np.abs(poses - first[1]).max())
            if not differences[library] <= _SAME_POSES_M:
                logger.warning(
                    "%s is not run by %s, whose poses are %g m from those of %s",
                    self._manifest.name,
                    library,
                    differences[library],
                    first[0],
                )
        return differences


def _join(batch: Sequence[Slice]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put the slices' frames one after another, and their windows [W, N] over them."""
    index, offset = [], 0
    for part in batch:
        index.append(part.index + offset)
        offset += len(part.frames)
    return np.concatenate([part.frames for part in batch]), np.concatenate(index)
