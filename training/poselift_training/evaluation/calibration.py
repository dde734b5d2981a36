"""Calibration of expected errors: how it is measured, and how it is corrected.

A network is more accurate on the people it was trained on than on others, and so expects errors that are too small. A
line in logarithmic space, fitted to the validation data, corrects that; it is folded into the last layer of the error
head.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from poselift.lifters.blocks import ErrorHead
from poselift.lifters.constants import indices
from poselift.lifters.lifter import Lifter, Poses
from poselift.lifters.pstmo.losses import expected_error_loss
from poselift.lifters.pstmo.network import STMO
from poselift.lifters.pstmo.sequence import SequenceSTMO
from poselift.skeletons import Skeleton
from poselift_training.data import Batch

GROUPS = 10
_STEPS = 200


@dataclass(frozen=True)
class Decile:
    """Means over a tenth of all joints, which have similar expected errors."""

    joints: int
    expected_mm: float
    true_mm: float

    @property
    def ratio(self) -> float:
        """Expected over true error: 1 if right on average, less than 1 if the network is overconfident."""
        return self.expected_mm / self.true_mm


def deciles(expected_mm: Tensor, true_mm: Tensor) -> tuple[Decile, ...]:
    """Sort joints by expected error, and compare it with the true error in each tenth.

    Args:
        expected_mm, true_mm: [M] at least ten joints, without roots, which have no error.
    """
    order = expected_mm.argsort(stable=True)
    groups = zip(
        torch.tensor_split(expected_mm[order].double(), GROUPS),
        torch.tensor_split(true_mm[order].double(), GROUPS),
        strict=True,
    )
    return tuple(Decile(len(true), expected.mean().item(), true.mean().item()) for expected, true in groups)


def calibrate(lifter: Lifter, batches: Iterable[Batch], skeleton: Skeleton) -> None:
    """Calibrate the expected errors of a lifter in place; a lifter without them is not changed.

    Args:
        lifter: in evaluation mode.
        batches: windows of people that the lifter was not trained on; not read if there is nothing to calibrate.
    """
    head = lifter.error_head if isinstance(lifter, STMO | SequenceSTMO) else None
    if head is None:
        return
    expected, true = _errors(lifter, batches, skeleton)
    intercept, slope = fit_log_errors(expected, true)
    _fold_into(head, intercept, slope, skeleton.n_joints)


def fit_log_errors(expected: Tensor, true: Tensor) -> tuple[float, float]:
    """Fit a line that maps the logarithm of expected errors [M] to that of the mean of true errors [M].

    Returns:
        Intercept and slope.
    """
    # On the CPU: the line is too small for a GPU.
    logs, true = expected.double().log().cpu(), true.double().cpu()
    line = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = expected_error_loss((line[0] + line[1] * logs).exp(), true)
        value.backward()
        return value

    optimiser.step(cast(Any, loss))
    intercept, slope = line.tolist()
    return intercept, slope


@torch.no_grad()
def _errors(lifter: Lifter, batches: Iterable[Batch], skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Expected and true errors [M] of all joints but the root, in the unit of the network."""
    others = [joint for joint in range(skeleton.n_joints) if joint != skeleton.root]
    expected, true = [], []
    for batch in batches:
        poses: Poses = lifter(batch.windows)
        assert poses.expected_error is not None, "the lifter has an error head"
        joints = indices(others, batch.joints.device)
        frames = _frames_that_count(batch.joints.shape[1], whole=poses.centre is None)
        target = batch.joints[:, frames, : skeleton.n_joints]
        given = poses.answer[:, frames] if poses.centre is None else poses.answer[:, None]
        given = given[..., : skeleton.n_joints, :]
        true.append(torch.linalg.vector_norm(given[..., :3] - target, dim=-1)[..., joints].flatten())
        expected.append(given[..., 3][..., joints].flatten())
    return torch.cat(expected), torch.cat(true)


def _frames_that_count(frames: int, *, whole: bool) -> slice:
    """Frames of a window whose poses are served: the middle one, or where windows overlap those that weigh most."""
    middle = frames // 2
    return slice(frames // 4, frames - frames // 4) if whole else slice(middle, middle + 1)


@torch.no_grad()
def _fold_into(head: ErrorHead, intercept: float, slope: float, joints: int) -> None:
    head.out.weight[:joints] *= slope
    head.out.bias[:joints] = head.out.bias[:joints] * slope + intercept
