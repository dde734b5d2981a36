"""Pose errors under the names and definitions of the literature.

Poses are [..., J, 3], relative to their root joint and with the root row zero in prediction and target: the root counts
in every mean with an error of 0, as in the official evaluations. Distances are in the unit of the input; `pck` and
`auc` take millimetres. Results are torch tensors, in the precision and on the device of the input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from poselift.skeletons import Skeleton

PCK_THRESHOLD_MM = 150.0
# 0, 5, ..., 150: 31 thresholds; no error is strictly below the first one.
AUC_THRESHOLDS_MM = tuple(5.0 * k for k in range(31))

# MPI-INF-3DHP scores 14 joints in 8 groups: head top, neck, shoulders, elbows, wrists, hips, knees, ankles. Its groups
# are weighted by their size, so the mean over groups is the plain mean over these joints.
_NOT_SCORED_IN_MPI17 = ("pelvis", "spine", "head")


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint position error: mean distance over all poses and joints (protocol 1)."""
    _check_same_poses(predicted, target)
    return _norm(predicted - target).mean()


def p_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best rotation, scale and translation of each pose (protocol 2)."""
    return mpjpe(procrustes_aligned(predicted, target), target)


def n_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best scale of each pose (protocol 3)."""
    _check_same_poses(predicted, target)
    scale = (predicted * target).sum((-2, -1), keepdim=True) / _not_zero((predicted**2).sum((-2, -1), keepdim=True))
    return mpjpe(scale * predicted, target)


def velocity_error(predicted: Tensor, target: Tensor, follows: Tensor | None = None) -> Tensor:
    """Mean distance between the frame-to-frame movements of prediction and target, in units per frame.

    Args:
        predicted, target: [F, J, 3] in time order.
        follows: [F - 1] bool, whether frame f + 1 directly follows frame f in the same sequence; None: all do.
    Returns:
        A scalar; NaN if no frame follows another.
    Source: VideoPose3D `mean_velocity_error`, which differentiates along its first axis.
    """
    _check_same_poses(predicted, target)
    if predicted.ndim != 3:
        raise ValueError(f"velocity needs poses [F, J, 3] in time order, not {tuple(predicted.shape)}")
    movement_error = _norm((predicted - target).diff(dim=0))
    return (movement_error if follows is None else movement_error[follows]).mean()


def pck(predicted_mm: Tensor, target_mm: Tensor, joints: Sequence[int]) -> Tensor:
    """Percentage of correct keypoints: share of `joints` whose error is strictly below 150 mm, in percent.

    Source: the MATLAB scripts of MPI-INF-3DHP; `pck_joints` gives the joints.
    """
    return 100 * (_errors(predicted_mm, target_mm, joints) < PCK_THRESHOLD_MM).double().mean()


def auc(predicted_mm: Tensor, target_mm: Tensor, joints: Sequence[int]) -> Tensor:
    """Area under the PCK curve: mean of `pck` over the thresholds 0, 5, ..., 150 mm, in percent."""
    errors = _errors(predicted_mm, target_mm, joints)
    return 100 * torch.stack([(errors < threshold).double().mean() for threshold in AUC_THRESHOLDS_MM]).mean()


def pck_joints(skeleton: Skeleton) -> tuple[int, ...]:
    """Joints that count in PCK and AUC: the official 14 of `mpi17`, else all but the root, whose error is 0."""
    if skeleton.name == "mpi17":
        return tuple(i for i, name in enumerate(skeleton.joint_names) if name not in _NOT_SCORED_IN_MPI17)
    return tuple(i for i in range(skeleton.n_joints) if i != skeleton.root)


def procrustes_aligned(predicted: Tensor, target: Tensor) -> Tensor:
    """Align each predicted pose with its target by rotation, scale and translation, in the least-squares sense.

    Reflections are excluded.

    Args:
        predicted, target: [..., J, 3].
    Returns:
        [..., J, 3]. A prediction that is a single point is moved to the centre of its target.
    Source: Schönemann 1966 with the determinant fix of Kabsch/Umeyama; VideoPose3D `p_mpjpe`.
    """
    _check_same_poses(predicted, target)
    target_centre = target.mean(dim=-2, keepdim=True)
    source = predicted - predicted.mean(dim=-2, keepdim=True)
    goal = target - target_centre
    # On the CPU, so that it is the same algorithm for every device.
    u, s, vh = (part.to(source.device) for part in torch.linalg.svd((source.mT @ goal).cpu()))
    # det(U V) is -1 where the best orthogonal map is a reflection: flip the axis with the smallest singular value.
    sign = torch.ones_like(s)
    sign[..., -1] = torch.linalg.det(u @ vh).sign()
    rotation = (u * sign[..., None, :]) @ vh
    scale = (s * sign).sum(-1)[..., None, None] / _not_zero((source**2).sum((-2, -1), keepdim=True))
    aligned: Tensor = scale * (source @ rotation) + target_centre
    return aligned


def _errors(predicted_mm: Tensor, target_mm: Tensor, joints: Sequence[int]) -> Tensor:
    _check_same_poses(predicted_mm, target_mm)
    return _norm((predicted_mm - target_mm)[..., list(joints), :])


def _norm(vectors: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return norm


def _not_zero(squares: Tensor) -> Tensor:
    return squares.clamp_min(torch.finfo(squares.dtype).tiny)


def _check_same_poses(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape or predicted.ndim < 2 or predicted.shape[-1] != 3:
        raise ValueError(f"poses must both be [..., J, 3], not {tuple(predicted.shape)} and {tuple(target.shape)}")
    if predicted.numel() == 0:
        raise ValueError("there is no pose to score")
