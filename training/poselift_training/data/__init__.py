"""Data that lifters learn from and are judged by: tensors on the device, gathered in batches."""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Batch:
    """Windows and what the lifter should make of them.

    Attributes:
        windows: [B, N, J, 2] float32 screen coordinates, as a detector would give them; NaN where a joint is missing.
        clean: [B, N, J, 2] float32 the same without noise and with nothing missing.
        joints: [B, N, J, 3] float32 camera coordinates, relative to the root, whose row is zero.
    """

    windows: torch.Tensor
    clean: torch.Tensor
    joints: torch.Tensor


class BatchSource(Protocol):
    """Training data as a pure function of the step, so that a resumed run sees what an unbroken one would."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> Batch: ...
