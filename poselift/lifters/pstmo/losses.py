"""Losses."""

import torch
from torch import Tensor

from poselift.lifters.lifter import Poses
from poselift.skeletons import Skeleton


def lifting_loss(poses: Poses, target: Tensor) -> Tensor:
    """Mean joint distance over all frames, plus the same of the centre pose.

    Args:
        poses: of a lifter in training mode.
        target: [B, N, J, 3], root-relative camera space, root row zero. The predicted root is not zeroed.
    Returns:
        scalar, in the unit of the target.
    Source: P-STMO; the official stage II loss.
    """
    assert poses.centre is not None, "the loss needs the centre head"
    assert poses.frames is not None, "the loss needs a lifter in training mode"
    return mean_distance(poses.frames, target) + mean_distance(poses.centre, target[:, target.shape[1] // 2])


def training_loss(poses: Poses, target: Tensor, skeleton: Skeleton) -> Tensor:
    """`lifting_loss`, which weighs all joints of any skeleton alike, and what expected errors are trained by."""
    loss = lifting_loss(poses, target)
    if poses.expected_error is None:
        return loss
    assert poses.centre is not None, "errors are expected of the centre pose"
    errors = torch.linalg.vector_norm(poses.centre.detach() - target[:, target.shape[1] // 2], dim=-1)
    joints = [joint for joint in range(skeleton.n_joints) if joint != skeleton.root]  # the root is always right
    return loss + expected_error_loss(poses.expected_error[:, joints], errors[:, joints])


def expected_error_loss(expected: Tensor, errors: Tensor) -> Tensor:
    """Negative log likelihood of errors that are exponentially distributed about what was expected: [...] -> scalar.

    Smallest where each expected error is the mean of the true ones in its place.
    """
    return (expected.log() + errors / expected).mean()


def mean_distance(predicted: Tensor, target: Tensor) -> Tensor:
    assert predicted.shape == target.shape, f"{tuple(predicted.shape)} against {tuple(target.shape)}"
    distances: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    return distances.mean()
