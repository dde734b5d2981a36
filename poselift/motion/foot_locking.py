"""Feet that stand still while they touch the ground.

The whole person is moved first, as smoothly as people move; what is left of a foot's sliding is taken from its leg, by
two-bone inverse kinematics that keeps bones as long as they are. Both corrections are the smallest and smoothest ones
under which a foot in contact does not move from frame to frame, so that neither begins nor ends with a jump.

Letters: F frames. World axes, y up. Feet: left, right.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.motion.contacts import ANKLES
from poselift.motion.smoothing import LONGEST_STEP_S, couple, smooth, solve_chain
from poselift.motion.world import FootLock
from poselift.skeletons import skeleton

Floats = NDArray[np.float64]

_JOINT = skeleton("h36m17").joint_names.index
_HIPS = np.array([_JOINT("left_hip"), _JOINT("right_hip")])
_KNEES = np.array([_JOINT("left_knee"), _JOINT("right_knee")])
# Hip, knee and ankle of both legs.
LEGS = np.stack([_HIPS, _KNEES, ANKLES], axis=1)

# The farthest that the correction of a leg moves its knee and its ankle, and that of the root moves everybody.
FARTHEST_JOINT_M = 0.08
FARTHEST_ROOT_M = 0.3


class _Correction(NamedTuple):
    """How a correction weighs what it is asked for.

    Attributes:
        slip: m^2 / s, variance of a standing foot's displacement.
        stay: m^2 s, variance of the correction, times how long it lasts.
        acceleration: m^2 / s^3, spectral density of the correction's acceleration.
    """

    slip: float
    stay: float
    acceleration: float


_ROOT = _Correction(slip=4e-3, stay=2e-3, acceleration=0.5)
_LEG = _Correction(slip=2e-6, stay=2e-4, acceleration=10.0)
# Heels rise before toes do: an ankle of a standing foot stays above its place more than at its height.
_BY_AXIS = 1 / np.array([1.0, 25.0, 1.0])
# Of two ankles, the one that is lower by this carries nearly three quarters of the weight.
_LOWER_M = 0.02
# The floor is below all but so many of the lower ankles, as in `placement`.
_FLOOR_QUANTILE = 0.1
# The height of the lower ankle over time, when it is put to the ground.
_GROUND_VARIANCE, _GROUND_ACCELERATION = 1e-4, 5.0
STRAIGHT_M = 1e-4
# With its knee so far from the line between hip and ankle, a leg bends for a quarter of what it is asked for.
HALF_BENT_M = 0.1
MOST_TRIES = 4


def lock_feet(poses: NDArray[np.floating], contacts: Floats, times_s: Floats, mode: FootLock = "auto") -> Floats:
    """Hold feet that touch the ground.

    No knee or ankle moves by more than `FARTHEST_JOINT_M` relative to the pelvis, other joints do not move relative to
    it, and the pelvis moves by at most `FARTHEST_ROOT_M` (any distance vertically with "grounding" and "always").

    Args:
        poses: [F, 17, 3] metres, world axes.
        contacts: [F, 2] probabilities, left and right.
        times_s: [F] increasing, seconds.
        mode: see `WorldOptions`.
    Returns:
        [F, 17, 3]; bones are as long as before.
    """
    locked: Floats = poses.astype(np.float64)
    if mode == "off" or len(locked) < 2:
        return locked
    if mode in ("grounding", "always"):
        locked[..., 1] -= _above_ground(locked[:, ANKLES, 1].min(axis=1), times_s)[:, None]
    if mode == "grounding":
        return locked
    still = _stillness(contacts if mode == "auto" else np.maximum(contacts, weight_shares(locked[:, ANKLES, 1])))
    locked += limited(_root_shift(locked[:, ANKLES], still, times_s), FARTHEST_ROOT_M)[:, None]
    return bend_legs(locked, _leg_shifts(locked[:, ANKLES], still, times_s))


def _above_ground(lower: Floats, times_s: Floats) -> Floats:
    """How much higher [F] the lower ankle is than a standing one."""
    variances = np.full((len(lower), 1), _GROUND_VARIANCE)
    height = smooth(times_s, lower[:, None], variances, np.array([_GROUND_ACCELERATION]))[:, 0]
    return np.asarray(height - np.quantile(lower, _FLOOR_QUANTILE))


def weight_shares(heights: Floats) -> Floats:
    """How much of the weight each foot carries, [F, 2]: the lower one the more."""
    apart = np.clip((heights - heights[:, ::-1]) / _LOWER_M, -30, 30)
    return np.asarray(1 / (1 + np.exp(apart)))


def _stillness(contacts: Floats) -> Floats:
    """How much a foot is to stand still from each frame to the next, [F - 1, 2] from 0 to 1."""
    certain = np.maximum(2 * contacts - 1, 0)
    return np.asarray(certain[1:] * certain[:-1])


def _root_shift(ankles: Floats, still: Floats, times_s: Floats) -> Floats:
    """Shift [F, 3] of the person under which standing ankles [F, 2, 3] move least."""
    weights = still[..., None] * _BY_AXIS
    total = weights.sum(axis=1)
    moved = (weights * np.diff(ankles, axis=0)).sum(axis=1) / np.maximum(total, 1e-12)
    return _held(moved, total, times_s, _ROOT)


def _leg_shifts(ankles: Floats, still: Floats, times_s: Floats) -> Floats:
    """Shifts [F, 2, 3] of ankles under which they stand."""
    moved = np.diff(ankles, axis=0).reshape(-1, 6)
    return _held(moved, (still[..., None] * _BY_AXIS).reshape(-1, 6), times_s, _LEG).reshape(-1, 2, 3)


def _held(moved: Floats, still: Floats, times_s: Floats, correction: _Correction) -> Floats:
    """The smallest and smoothest correction [F, D] that takes displacements [F - 1, D] away where they are still."""
    step = np.minimum(np.diff(times_s), LONGEST_STEP_S)
    stay = np.full((len(times_s), moved.shape[1]), np.median(step) / correction.stay)
    diagonal, upper = couple(step, stay, np.full(moved.shape[1], correction.acceleration))
    weights = still / (correction.slip * step[:, None])
    diagonal[:-1, :, 0, 0] += weights
    diagonal[1:, :, 0, 0] += weights
    upper[..., 0, 0] -= weights
    right = np.zeros((*stay.shape, 2))
    right[:-1, :, 0] += weights * moved
    right[1:, :, 0] -= weights * moved
    return solve_chain(diagonal, upper, right)[..., 0]


def limited(shifts: Floats, farthest_m: float) -> Floats:
    """Shifts [..., 3] shortened to at most that length, those that are short hardly."""
    squares = np.einsum("...k,...k->...", shifts, shifts)[..., None] / farthest_m**2
    return np.asarray(shifts / (1 + squares * squares) ** 0.25)


def bend_legs(poses: Floats, shifts: Floats) -> Floats:
    """Move ankles by bending hips and knees, as far as legs reach.

    Args:
        poses: [F, 17, 3], which are changed.
        shifts: [F, 2, 3] of the left and the right ankle; shortened where a joint would move too far.
    """
    hips, knees, ankles = poses[:, _HIPS], poses[:, _KNEES], poses[:, ANKLES]
    shifts = limited(_bendable(hips, knees, ankles, shifts), FARTHEST_JOINT_M)
    new_knees, new_ankles = two_bone_ik(hips, knees, ankles, ankles + shifts)
    for _ in range(MOST_TRIES):
        # A leg that is nearly straight bends far for a little.
        far = _length(new_knees - knees)[..., 0] > FARTHEST_JOINT_M
        if not far.any():
            break
        moved = _length(new_knees[far] - knees[far])
        shifts[far] *= (0.9 * FARTHEST_JOINT_M / moved) ** 2
        new_knees[far], new_ankles[far] = two_bone_ik(hips[far], knees[far], ankles[far], ankles[far] + shifts[far])
    far = _length(new_knees - knees)[..., 0] > FARTHEST_JOINT_M
    new_knees[far], new_ankles[far] = knees[far], ankles[far]
    poses[:, _KNEES], poses[:, ANKLES] = new_knees, new_ankles
    return poses


def _bendable(hips: Floats, knees: Floats, ankles: Floats, shifts: Floats) -> Floats:
    """Shifts [..., 3] of ankles that change the distance from the hip the less, the straighter the leg is.

    For a little of that, the knee of a leg that is nearly straight moves far, and trembles.
    """
    leg, thigh = ankles - hips, knees - hips
    reach = np.maximum(_length(leg), 1e-9)
    axis = leg / reach
    out = _length(thigh - axis * np.einsum("...k,...k->...", thigh, axis)[..., None])
    share = (out / (out + HALF_BENT_M)) ** 2
    targets = leg + shifts
    wanted = np.maximum(_length(targets), 1e-9)
    return np.asarray(targets * ((reach + share * (wanted - reach)) / wanted) - leg)


def two_bone_ik(hips: Floats, knees: Floats, ankles: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Knees and ankles of legs that reach for targets, in the plane that the knees were bent in.

    Args:
        hips, knees, ankles, targets: [..., 3].
    Returns:
        Knees and ankles [..., 3]; ankles are on the way to the targets that are too far or too close.
    """
    thigh, shank = _length(knees - hips), _length(ankles - knees)
    line = targets - hips
    reach = np.maximum(_length(line), 1e-9)
    far = np.clip(reach, np.abs(thigh - shank) + 1e-9, thigh + shank)
    along_axis = line / reach
    along = (thigh**2 - shank**2 + far**2) / (2 * far)
    out = np.sqrt(np.maximum(thigh**2 - along**2, 0.0))
    bent = knees - hips
    bent = bent - along_axis * np.einsum("...k,...k->...", bent, along_axis)[..., None]
    size = _length(bent)
    # A straight leg has no plane: it bends ahead of the foot's way, any direction will do for so little.
    spare = np.zeros_like(bent)
    spare[..., 2] = 1.0
    spare -= along_axis * along_axis[..., 2:]
    pole = np.where(size > STRAIGHT_M, bent, spare)
    pole /= np.maximum(_length(pole), 1e-9)
    return hips + along_axis * along + pole * out, hips + along_axis * far


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("...k,...k->...", vectors, vectors)))[..., None]
