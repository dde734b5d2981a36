"""Constant bone lengths: one person's bones are as long in all frames, and make up the stature.

Bones are named by the joint that they end in, so they are an array [17] whose first number (the pelvis) is 0.
"""

import numpy as np
from numpy.typing import NDArray

from poselift.skeletons import skeleton

_H36M = skeleton("h36m17")
_PARENTS = np.array(_H36M.parents)
_BONES = np.arange(1, _H36M.n_joints)  # each after its parent, so one pass from the pelvis outwards suffices
_LEGS = [_H36M.joint_names.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
_TRUNK = [_H36M.joint_names.index(joint) for joint in ("spine", "thorax")]
_NECK_AND_HEAD = [_H36M.joint_names.index(joint) for joint in ("neck_nose", "head")]

# The bones to the neck/nose and to the head make an angle: the head joint of a standing person is this share of their
# lengths above the thorax. With it, the sum tells the height of the head of 80 recorded people within 1 %.
_NECK_AND_HEAD_RISE = 0.8
# Below the ankles (8.5 cm) and above the head joint (3 cm), as a share of the rest, so that twice the bones are twice
# the stature.
_ABOVE_AND_BELOW = 1.064
STATURE_SHARES = np.zeros(_H36M.n_joints)
STATURE_SHARES[_LEGS], STATURE_SHARES[_TRUNK], STATURE_SHARES[_NECK_AND_HEAD] = 0.5, 1.0, _NECK_AND_HEAD_RISE
STATURE_SHARES *= _ABOVE_AND_BELOW
"""How much of the length of each bone [17] counts for the stature."""

_SHORTEST_M = 1e-9
# A frame of a stream counts as if its bones were off by at most this share.
_FARTHEST_OFF = 0.1


def bone_lengths(poses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Length of each bone in each frame.

    Args:
        poses: [F, 17, 3].
    Returns:
        [F, 17] in the same unit; 0 for the pelvis.
    """
    lengths = np.zeros(poses.shape[:-1])
    bones = poses[..., _BONES, :].astype(np.float64) - poses[..., _PARENTS[_BONES], :]
    lengths[..., 1:] = np.sqrt(np.einsum("...k,...k->...", bones, bones))
    return lengths


def stature(bones: NDArray[np.floating]) -> float:
    """Height of a standing person with these bones, without shoes; see `docs/motion.md`.

    It is proportional to the bones: scaling them by `height_m / stature(bones)` makes a person of that height.

    Args:
        bones: [17] metres.
    Returns:
        Metres.
    """
    return float(bones @ STATURE_SHARES)


def constant_bones(
    poses: NDArray[np.floating], weights: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give each bone its usual length in all frames, keeping its directions.

    Args:
        poses: [F, 17, 3] metres, any axes; F of at least 1.
        weights: [F, 17] not negative, how far to trust each joint; all alike if None.
    Returns:
        [F, 17, 3] poses whose pelvis has not moved, and [17] the weighted median length of each bone.
    """
    lengths = bone_lengths(poses)
    bones = np.median(lengths, axis=0) if weights is None else _weighted_median(lengths, _bone_weights(weights))
    return with_bones(poses, bones), bones


def running_bones(
    state: NDArray[np.float64] | None, poses: NDArray[np.floating], weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Estimate the bones of a stream: their weighted mean so far, in which a frame that is far off counts little.

    Each frame moves it less than the one before, so the bones become constant.

    Args:
        state: [2, 17] after the frames before; None for the first.
        poses: [F, 17, 3] metres, the next frames.
        weights: [F, 17] as in `constant_bones`.
    Returns:
        [2, 17]: the bones, metres, and the sum of their weights. `with_bones(poses, state[0])` gives them to poses.
    """
    lengths = bone_lengths(poses)
    weights = np.ones(lengths.shape) if weights is None else _bone_weights(weights)
    bones, total = (lengths[0], np.zeros(lengths.shape[1])) if state is None else state
    for length, weight in zip(lengths, weights, strict=True):
        bones, total = follow_bones(bones, total, length, weight)
    return np.stack([bones, total])


def follow_bones(
    bones: NDArray[np.float64], total: NDArray[np.float64], length: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One frame of `running_bones`: the bones [17] and the sum of their weights [17] after it."""
    total = total + weight
    farthest = _FARTHEST_OFF * bones
    return bones + weight / total * np.minimum(np.maximum(length - bones, -farthest), farthest), total


def with_bones(poses: NDArray[np.floating], bones: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give the bones of poses these lengths, keeping their directions, from the pelvis outwards.

    Args:
        poses: [F, 17, 3] metres.
        bones: [17] metres.
    Returns:
        [F, 17, 3]; a bone without a direction, since its two joints coincide, goes along the second axis.
    """
    vectors = poses[..., _BONES, :].astype(np.float64) - poses[..., _PARENTS[_BONES], :]
    lengths = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))[..., None]
    vectors = np.where(lengths > _SHORTEST_M, vectors / np.maximum(lengths, _SHORTEST_M), (0.0, 1.0, 0.0))
    vectors *= np.asarray(bones)[_BONES, None]
    rebuilt = np.empty(poses.shape)
    rebuilt[..., 0, :] = poses[..., 0, :]
    for joint in _BONES:
        rebuilt[..., joint, :] = rebuilt[..., _PARENTS[joint], :] + vectors[..., joint - 1, :]
    return rebuilt


def _bone_weights(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """A bone is as uncertain as both of its joints together: [F, 17], the weights being inverse variances."""
    inner, outer = weights[:, _PARENTS[_BONES]], weights[:, _BONES]
    both = np.ones(weights.shape)
    both[:, 1:] = inner * outer / np.maximum(inner + outer, np.finfo(np.float64).tiny)
    both[:, both.sum(0) == 0] = 1.0  # never trusted: the plain median says more than none
    return both


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of each column with half of the weight on either side: [F, N], [F, N] -> [N]."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = (below < below[-1] / 2).sum(axis=0)
    row = np.take_along_axis(order, middle[None], axis=0)
    medians: NDArray[np.float64] = np.take_along_axis(values, row, axis=0)[0]
    return medians
