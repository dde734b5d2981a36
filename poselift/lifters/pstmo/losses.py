"""The training losses of P-STMO's lifter."""

import torch
from torch import Tensor

from poselift.lifters.constants import indices
from poselift.lifters.lifter import Poses
from poselift.skeletons import Skeleton


def lifting_loss(poses: Poses, target: Tensor) -> Tensor:
    """Mean joint distance over all frames, plus the mean joint distance of the middle frame.

    Args:
        poses: output of a lifter in training mode.
        target: [B, N, J, 3] root-relative camera space, the root at zero. The predicted root is not set to zero.
    Returns:
        A scalar, in the unit of the target.
    Source: P-STMO; the official stage II loss.
    """
    assert poses.centre is not None, "the loss needs the centre head"
    assert poses.frames is not None, "the loss needs a lifter in training mode"
    return mean_distance(poses.frames, target) + mean_distance(poses.centre, target[:, target.shape[1] // 2])


def training_loss(poses: Poses, target: Tensor, skeleton: Skeleton) -> Tensor:
    """`lifting_loss`, with equal weights for all joints, plus the loss of the expected errors if there are any.

    Args:
        target: [B, N, J, 3] of the joints of `skeleton`.
    """
    loss = lifting_loss(poses, target)
    if poses.expected_error is None:
        return loss
    assert poses.centre is not None, "expected errors belong to the middle frame"
    errors = torch.linalg.vector_norm(poses.centre.detach() - target[:, target.shape[1] // 2], dim=-1)
    return loss + expected_error_loss(*(_without_root(part, skeleton) for part in (poses.expected_error, errors)))


def sequence_loss(poses: Poses, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean joint distance over all frames, and what expected errors are trained by, for a network without a centre.

    Args:
        poses, target: as in `lifting_loss`; both may have a row of the direction of falling below the joints.
    """
    assert poses.frames is not None, "the loss needs the poses of all frames"
    loss = mean_distance(poses.frames, target)
    if poses.expected_error is None:
        return loss
    errors = torch.linalg.vector_norm(poses.frames.detach() - target, dim=-1)
    return loss + expected_error_loss(*(_without_root(part, skeleton) for part in (poses.expected_error, errors)))


def _without_root(errors: Tensor, skeleton: Skeleton) -> Tensor:
    """Errors [..., J] without that of the root, which is always right; rows below the joints stay."""
    joints = [joint for joint in range(errors.shape[-1]) if joint != skeleton.root]
    return errors[..., indices(joints, errors.device)]


def expected_error_loss(expected: Tensor, errors: Tensor) -> Tensor:
    """Negative log likelihood of errors under exponential distributions with the expected means: [...] -> scalar.

    It is minimal if each expected error is the mean of the true errors.
    """
    return (expected.log() + errors / expected).mean()


def mean_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of positions [..., D], a scalar."""
    assert predicted.shape == target.shape, f"{tuple(predicted.shape)} against {tuple(target.shape)}"
    distances: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    return distances.mean()
