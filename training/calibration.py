"""Whether a network knows how far off its joints are."""

from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = 10


@dataclass(frozen=True)
class Decile:
    """A tenth of all joints, those of about the same expected error: the means over them."""

    joints: int
    expected_mm: float
    true_mm: float

    @property
    def ratio(self) -> float:
        """Expected over true; 1 where the network is right on average, less where it trusts itself too much."""
        return self.expected_mm / self.true_mm


def deciles(expected_mm: Tensor, true_mm: Tensor) -> tuple[Decile, ...]:
    """Sort joints by how far off they are expected to be, and compare with how far off they are, tenth by tenth.

    Args:
        expected_mm, true_mm: [M] at least ten joints, without roots, whose error is none.
    """
    order = expected_mm.argsort(stable=True)
    groups = zip(
        torch.tensor_split(expected_mm[order].double(), GROUPS),
        torch.tensor_split(true_mm[order].double(), GROUPS),
        strict=True,
    )
    return tuple(Decile(len(true), expected.mean().item(), true.mean().item()) for expected, true in groups)
