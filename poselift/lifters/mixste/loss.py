"""The training loss of MixSTE: joint distances, smoothness and velocities of whole windows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from poselift.lifters.constants import numbers
from poselift.lifters.lifter import Poses
from poselift.skeletons import Skeleton

_WEIGHTED_JOINTS = {"head": 1.5, "shoulder": 1.5, "knee": 2.5, "ankle": 2.5, "elbow": 4.0, "wrist": 4.0}


def joint_weights(skeleton: Skeleton) -> tuple[float, ...]:
    """The weight of each joint in the loss: limbs above the trunk, wrists and elbows highest.

    Source: the official weights, which are for h36m17; for other skeletons they are assigned by joint name.
    """
    return tuple(_WEIGHTED_JOINTS.get(name.rpartition("_")[2], 1.0) for name in skeleton.joint_names)


@dataclass(frozen=True)
class SequenceLoss:
    """The terms of the training loss, in the unit of the poses.

    Attributes:
        position: mean weighted distance of the joints.
        smoothness: mean weighted square of each predicted coordinate's step from frame to frame; independent of the
            target.
        velocity: mean distance between the true and the predicted steps.
    """

    position: Tensor
    smoothness: Tensor
    velocity: Tensor

    @property
    def total(self) -> Tensor:
        """The training loss, with the official weights."""
        return self.position + 0.5 * self.smoothness + 2 * self.velocity


def sequence_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> SequenceLoss:
    """The loss terms of the poses of whole windows.

    The official training seeds the backward pass with the loss itself, `total.backward(total.detach())`, so the
    gradient of a step is proportional to its loss.

    Args:
        predicted, target: [B, N, J, 3] root-relative camera space, N at least 2. The predicted root is not set to zero.
        weights: [J] from `joint_weights`.
    Source: the official loss.
    """
    assert predicted.shape == target.shape, f"{tuple(predicted.shape)} against {tuple(target.shape)}"
    steps = predicted.diff(dim=1)
    return SequenceLoss(
        position=(weights * torch.linalg.vector_norm(predicted - target, dim=-1)).mean(),
        smoothness=(weights[:, None] * steps.square()).mean(),
        velocity=torch.linalg.vector_norm(steps - target.diff(dim=1), dim=-1).mean(),
    )


def training_loss(poses: Poses, target: Tensor, skeleton: Skeleton) -> Tensor:
    """The official loss of whole windows, `SequenceLoss.total`, with the gradient of half its square, as officially.

    Args:
        target: [B, N, J, 3] of the joints of `skeleton`.
    """
    assert poses.frames is not None, "the loss needs the poses of all frames"
    weights = numbers(joint_weights(skeleton), target.device)
    total = sequence_loss(poses.frames, target, weights).total
    seeded = total.square() / 2
    return seeded + (total - seeded).detach()
