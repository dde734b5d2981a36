"""What the engine needs of a lifter, whichever library runs it.

Shapes: W windows of N frames, U unique frames, J joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EngineUnavailable(Exception):
    """A network cannot be run on this machine as it was asked to; the message is one sentence."""


@dataclass(frozen=True)
class Form:
    """How a network is run.

    Attributes:
        library: "torch" or "openvino".
        device: "cpu" or "cuda".
        precision: "float32", "bfloat16" or "float16".
        threads: CPU threads that compute.
        recorded: whether a GPU replays graphs of kernels, and is not given them one by one.
    """

    library: str
    device: str
    precision: str
    threads: int
    recorded: bool = False

    def __str__(self) -> str:
        """What its numbers depend on."""
        return f"{self.library} {self.precision}"


@dataclass(frozen=True)
class Group:
    """Networks that give the same numbers, so that the fastest may be taken.

    Attributes:
        networks: at least one.
        within_m: how far any number of their poses may be from that of the reference.
    """

    networks: Sequence["Network"]
    within_m: float


@dataclass(frozen=True)
class Candidates:
    """The networks that an artifact may be served with.

    Attributes:
        reference: what the poses of all are compared with.
        groups: what may serve; the fastest of those that are near enough to the reference will.
    """

    reference: "Network"
    groups: Sequence[Group]


class Network(Protocol):
    """A lifter ready to run; by one thread at a time."""

    @property
    def form(self) -> Form:
        """How it is run."""

    @property
    def sizes_per_doubling(self) -> int | None:
        """How many numbers of windows, between a power of two and the next, it should ever be given.

        Each new one costs time and keeps memory. None: any number is as good.
        """

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Lift the windows that `index` [W, N] makes of `frames` [U, J, 2].

        Returns:
            [W, J, D], or [W, N, J, D] where the lifter answers for whole windows: x, y, z in metres, root at zero, and,
            where it knows it, the expected error in metres.
        Raises:
            MemoryError: they do not fit the device's memory; fewer may.
        """


def padded_size(size: int, sizes_per_doubling: int) -> int:
    """Round a size up, so that only so many sizes are left between a power of two and the next."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * sizes_per_doubling))
    return -(-size // step) * step
