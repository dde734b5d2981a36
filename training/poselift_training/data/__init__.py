"""Data sets to train and evaluate on, as tensors on a device, and the batches taken from them."""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Batch:
    """Windows of keypoints and the poses that belong to them.

    Attributes:
        windows: [B, N, J, 2] float32 screen coordinates, as a detector would report them; NaN where a joint is missing.
        clean: [B, N, J, 2] float32, the same without noise and without missing joints.
        joints: [B, N, J, 3] float32 camera coordinates, relative to the root, whose row is zero.
    """

    windows: torch.Tensor
    clean: torch.Tensor
    joints: torch.Tensor


class BatchSource(Protocol):
    """Training data as a pure function of the step, so that a resumed run gets the batches of an uninterrupted one."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass through the data."""

    def batch(self, step: int) -> Batch:
        """The windows of one step, counted from 0."""
