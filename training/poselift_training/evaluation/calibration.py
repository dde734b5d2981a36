"""Whether a network knows how far off its joints are, and how what it expects is put right.

A network is a little better on those it learnt from than on others, and so expects too little of itself. Two numbers
put that right, found on the validation data, and are folded into the last product of its error head.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from poselift.lifters.blocks import ErrorHead
from poselift.lifters.lifter import Lifter, Poses
from poselift.lifters.pstmo.losses import expected_error_loss
from poselift.lifters.pstmo.network import STMO
from poselift.skeletons import Skeleton
from poselift_training.data import Batch

GROUPS = 10
_STEPS = 200


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


def calibrate(lifter: Lifter, batches: Iterable[Batch], skeleton: Skeleton) -> None:
    """Put right, in place, how far off a lifter expects its joints to be; one that expects nothing stays as it is.

    Args:
        lifter: in evaluation mode.
        batches: windows of people that it did not learn from.
    """
    head = lifter.error_head if isinstance(lifter, STMO) else None
    if head is None:
        return
    expected, true = _errors(lifter, batches, skeleton)
    shift, stretch = fit(expected, true)
    _stretch(head, shift, stretch)


def fit(expected: Tensor, true: Tensor) -> tuple[float, float]:
    """The line from the logarithm of expected errors [M] to that of the mean of true ones [M]: its shift and slope."""
    logs = expected.double().log()
    line = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = expected_error_loss((line[0] + line[1] * logs).exp(), true.double())
        value.backward()
        return value

    optimiser.step(cast(Any, loss))
    shift, stretch = line.tolist()
    return shift, stretch


@torch.no_grad()
def _errors(lifter: Lifter, batches: Iterable[Batch], skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Expected and true errors [M] of all joints but the root, in the unit of the network."""
    joints = [joint for joint in range(skeleton.n_joints) if joint != skeleton.root]
    expected, true = [], []
    for batch in batches:
        poses: Poses = lifter(batch.windows)
        assert poses.centre is not None, "errors are expected of centre poses"
        assert poses.expected_error is not None, "the lifter has an error head"
        target = batch.joints[:, batch.joints.shape[1] // 2]
        true.append(torch.linalg.vector_norm(poses.centre - target, dim=-1)[:, joints].flatten())
        expected.append(poses.expected_error[:, joints].flatten())
    return torch.cat(expected), torch.cat(true)


@torch.no_grad()
def _stretch(head: ErrorHead, shift: float, stretch: float) -> None:
    head.out.weight *= stretch
    head.out.bias.mul_(stretch).add_(shift)
