"""The interface of a network: a lifter that a library runs on a device.

Shapes: W windows of N frames, U unique frames, J joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EngineUnavailable(Exception):
    """A network cannot be run on this machine with the requested options; the message is one sentence."""


@dataclass(frozen=True)
class NetworkVariant:
    """How a network is run.

    Attributes:
        library: "torch" or "openvino".
        device: "cpu" or "cuda".
        precision: "float32", "bfloat16" or "float16".
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
    """

    networks: Sequence["Network"]
    tolerance_m: float


@dataclass(frozen=True)
class Candidates:
    """The networks with which an artifact may be served.

    Attributes:
        reference: the network with whose poses all others are compared.
        groups: the networks to choose from.
    """

    reference: "Network"
    groups: Sequence[Group]


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

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Lift the windows that `index` [W, N] makes of `frames` [U, J, 2].

        Returns:
            [W, J, D], or [W, N, J, D] if the lifter answers for whole windows: x, y, z in metres, root at zero, and,
            if the lifter estimates it, the expected error in metres.
        Raises:
            MemoryError: the windows do not fit into the device's memory; fewer may.
        """


def padded_size(size: int, sizes_per_doubling: int) -> int:
    """Round a size up to one of `sizes_per_doubling` sizes between a power of two and the next."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * sizes_per_doubling))
    return -(-size // step) * step
