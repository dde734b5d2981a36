"""The interface of a network: a lifter that a library runs on a device.

Shapes: W windows of N frames, U unique frames, J joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Libraries that run the same network in float32 agree to a few micrometres; one that differs by more is broken.
EXACT_TOLERANCE_M = 1e-4


class EngineUnavailable(Exception):
    """A network cannot be run on this machine with the requested options; the message is one sentence."""


class DeviceLost(RuntimeError):
    """The device no longer works in this process; only a new process can use it again."""


@dataclass(frozen=True)
class NetworkVariant:
    """How a network is run.

    Attributes:
        library: "torch" or "openvino".
        device: "cpu" or "cuda".
        precision: "float32", "tf32", "bfloat16" or "float16".
        threads: CPU threads that compute.
        cuda_graphs: whether a GPU replays recorded graphs of kernels instead of launching kernels one by one.
    """

    library: str
    device: str
    precision: str
    threads: int
    cuda_graphs: bool = False

    def __str__(self) -> str:
        """Library and precision, which determine the numbers."""
        return f"{self.library} {self.precision}"


@dataclass(frozen=True)
class Group:
    """Networks that compute the same numbers, so that any of them may be chosen.

    Attributes:
        networks: at least one.
        tolerance_m: largest difference of any coordinate from the reference's.
        batch_tolerance_m: largest difference of any coordinate between batches of different sizes: a live frame is
            lifted in a small batch, the same frame of a clip in a large one.
    """

    networks: Sequence["Network"]
    tolerance_m: float
    batch_tolerance_m: float = EXACT_TOLERANCE_M


@dataclass(frozen=True)
class Candidates:
    """The networks with which an artifact may be served.

    Attributes:
        reference: the network with whose poses all others are compared.
        groups: the networks to choose from.
        reference_windows: windows of each person that the reference lifts for the comparison.
    """

    reference: "Network"
    groups: Sequence[Group]
    reference_windows: int = 16


class Network(Protocol):
    """A lifter that is ready to run, in one thread at a time."""

    @property
    def variant(self) -> NetworkVariant:
        """How the network is run."""

    @property
    def sizes_per_doubling(self) -> int | None:
        """Number of batch sizes to use between a power of two and the next; batches are padded to these sizes.

        Each new size costs time and keeps memory. None means that any size is as good.
        """

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Lift the windows that `index` [W, N] makes of `frames` [U, J, 2].

        Args:
            ahead: [W] as in `Slice`.
        Returns:
            [W, J, D], or [W, N, J, D] if the lifter answers for whole windows: x, y, z in metres, root at zero, and,
            if the lifter estimates it, the expected error in metres.
        Raises:
            MemoryError: the windows do not fit into the device's memory; fewer may.
            DeviceLost: the device no longer works.
        """

    def close(self) -> None:
        """Release what the network holds on the device; it does not lift any more."""

    def renewed(self) -> "Network":
        """Return a network of the same variant without traces of measurements; this one is closed."""


def padded_size(size: int, sizes_per_doubling: int) -> int:
    """Round a size up to one of `sizes_per_doubling` sizes between a power of two and the next."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * sizes_per_doubling))
    return -(-size // step) * step
