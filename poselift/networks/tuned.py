"""The network that is fastest on this machine, run in batches that fit into its memory.

Shapes: W windows of N frames, U unique frames, J joints.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.networks.autotune import ROUNDS_S, Benchmark, choose
from poselift.networks.batch_limit import BatchLimit
from poselift.networks.network import Candidates, Network, NetworkVariant, padded_size
from poselift.networks.slice import Slice

logger = logging.getLogger(__name__)


class TunedNetwork:
    """Runs the fastest of several candidate networks; `tune` measures which one that is.

    Both are to be called in one thread. The server's engine and the command share this class.
    """

    def __init__(
        self, manifest: Manifest, make_candidates: Callable[[], Candidates], *, rounds_s: float = ROUNDS_S
    ) -> None:
        """Prepare a choice; `rounds_s` is as for `Benchmark`."""
        self._manifest = manifest
        self._make_candidates: Callable[[], Candidates] | None = make_candidates
        self._network: Network | None = None
        self._limit = BatchLimit(1)
        self._rounds_s = rounds_s

    @property
    def batch_windows(self) -> int:
        """Most windows to lift at a time; valid after `tune`."""
        return self._limit.windows

    @property
    def variant(self) -> NetworkVariant:
        """How the network is run; valid after `tune`."""
        return self._chosen.variant

    def padded(self, windows: int) -> int:
        """Return how many windows the network runs, padding included, for a batch of `windows`."""
        per_doubling = self._chosen.sizes_per_doubling
        return windows if per_doubling is None else padded_size(windows, per_doubling)

    def tune(self) -> None:
        """Measure the candidates at the batch sizes that will occur; keep the fastest and release the others.

        Raises:
            EngineUnavailable: the poses of all candidates are too far from those of the reference.
        """
        assert self._make_candidates is not None, "a network is tuned once"
        manifest = self._manifest
        choice = choose(self._make_candidates(), Benchmark.of(manifest, self._rounds_s))
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

    def lift(self, windows: Slice) -> NDArray[np.float32]:
        """Lift windows, as `Network.lift` does.

        Raises:
            FloatingPointError: the network answered with numbers that are not finite.
            MemoryError: not even one window fits into the device's memory.
            DeviceLost: the device no longer works.
            RuntimeError: the device failed.
        """
        answers = self._lift_in_memory(windows)
        if not np.isfinite(answers).all():
            raise FloatingPointError(f"{self._manifest.name} answered with numbers that are not finite")
        return answers

    def close(self) -> None:
        """Release the network's memory on the device."""
        if self._network is not None:
            self._network.close()

    @property
    def _chosen(self) -> Network:
        assert self._network is not None, "the network is not tuned"
        return self._network

    def _lift_in_memory(self, batch: Slice) -> NDArray[np.float32]:
        windows = len(batch.index)
        # Padding windows consist of the first frame alone.
        index = _with_zeros(batch.index, self.padded(windows))
        ahead = None if batch.ahead is None else _with_zeros(batch.ahead, self.padded(windows))
        try:
            return self._chosen.lift(batch.frames, index, ahead)[:windows]
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
        return np.concatenate([self._lift_in_memory(batch.part(*half)) for half in ((0, middle), (middle, windows))])


def _with_zeros(rows: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    padded = np.zeros((length, *rows.shape[1:]), dtype=np.int64)
    padded[: len(rows)] = rows
    return padded
