"""Which way is down, from how a person moves.

Over time, a person's centre of mass stays above the foot that stands, however far the trunk leans; that direction is
averaged over a clip. Feet that stand in several places tell the tilt of the floor between them.

Letters: F frames. Camera axes, metres.
"""

import math

import numpy as np
from numpy.typing import NDArray

from poselift.motion.world import Gravity
from poselift.skeletons import skeleton

Floats = NDArray[np.float64]

_H36M = skeleton("h36m17")
_JOINT = {name: index for index, name in enumerate(_H36M.joint_names)}
_ANKLES = np.array([_JOINT["left_ankle"], _JOINT["right_ankle"]])
_LEFT_HIP, _RIGHT_HIP, _THORAX = (_JOINT[name] for name in ("left_hip", "right_hip", "thorax"))

# Share of the body's mass that moves with each joint. Source: Winter 2009, segments shared between their ends.
_MASS_BY_NAME = {
    "hip": 0.0433 + 0.071,
    "knee": 0.0567 + 0.0202,
    "ankle": 0.0263 + 0.0145,
    "shoulder": 0.0158 + 0.060,
    "elbow": 0.0122 + 0.0091,
    "wrist": 0.0069 + 0.006,
}
_MASS = np.array([_MASS_BY_NAME.get(name.rpartition("_")[2], 0.0) for name in _H36M.joint_names])
_MASS[[_JOINT[name] for name in ("spine", "thorax", "neck_nose", "head")]] = 0.11, 0.10, 0.04, 0.04
_MASS /= _MASS.sum()

# The middle of the foot that stands lies ahead of the ankle.
_FOOT_AHEAD_M = 0.05
# The foot that is higher than the other by this carries a third of the weight.
_LIFT_M = 0.04
_PASSES = 3
# How far off single frames are before they count as less.
_HUBER = math.radians(8)
# Of frames of people who stand and walk; a short clip shows less of it.
_USUAL_SPREAD = math.radians(5)
# Directions last: so long, and a further one says something new.
_INDEPENDENT_S = 1.0
# Errors that averaging does not remove: that of the network, and people who lean.
_LASTING_DEG = 4.0
_FLOOR_ERROR_M = 0.06
_LONGEST_DEG = 60.0


def estimate_gravity(poses: Floats, path: Floats, times_s: Floats) -> Gravity:
    """Estimate the direction of falling from a clip.

    Args:
        poses: [F, 17, 3] relative to the pelvis.
        path: [F, 3] the pelvis.
        times_s: [F] seconds.
    """
    up = _unit(np.median(poses[:, _THORAX] - poses[:, _ANKLES].mean(axis=1), axis=0))
    for _ in range(_PASSES):
        stance = _stance(poses, up)
        balance = _balance(poses, stance, up)
        up, spread, weight = _mean_direction(balance, up)
    moments = max(1.0, (times_s[-1] - times_s[0]) / _INDEPENDENT_S) * weight
    variance = math.radians(_LASTING_DEG) ** 2 + max(spread, _USUAL_SPREAD) ** 2 / max(moments, 1e-3)
    up, variance = _level_floor(up, variance, path + _support(poses, stance), moments)
    uncertainty = min(math.degrees(math.sqrt(2 * variance)), _LONGEST_DEG)
    return Gravity(direction=-up, uncertainty_deg=uncertainty, given=False)


def combine(first: Gravity, second: Gravity) -> Gravity:
    """Join two estimates with independent errors."""
    a, b = 1 / max(first.uncertainty_deg, 0.1) ** 2, 1 / max(second.uncertainty_deg, 0.1) ** 2
    direction = _unit(a * np.asarray(first.direction) + b * np.asarray(second.direction))
    return Gravity(direction, (a + b) ** -0.5, given=False)


def _stance(poses: Floats, up: Floats) -> Floats:
    """How much of the weight each foot carries, [F, 2]: the lower one the more."""
    height = poses[:, _ANKLES] @ up
    share = 1 / (1 + np.exp(np.clip((height[:, 0] - height[:, 1]) / _LIFT_M, -30, 30)))
    return np.stack([share, 1 - share], axis=-1)


def _support(poses: Floats, stance: Floats) -> Floats:
    return np.asarray((poses[:, _ANKLES] * stance[..., None]).sum(axis=1))


def _balance(poses: Floats, stance: Floats, up: Floats) -> Floats:
    """From the middle of the standing foot to the centre of mass, [F, 3]."""
    ahead = np.cross(poses[:, _LEFT_HIP] - poses[:, _RIGHT_HIP], up)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    return np.asarray(_MASS @ poses - _support(poses, stance) - _FOOT_AHEAD_M * ahead)


def _mean_direction(balance: Floats, up: Floats) -> tuple[Floats, float, float]:
    """Robust mean of vectors; its frames' deviation about each axis in radians, and how many frames it rests on."""
    length = np.linalg.norm(balance, axis=1)
    off = np.arccos(np.clip(balance @ up / np.maximum(length, 1e-6), -1, 1))
    # A centre of mass that is high above the feet tells the direction better; of a person who lies, nothing.
    weights = length / np.maximum(1, off / _HUBER) ** 2
    mean = _unit(weights @ balance)
    off = np.arccos(np.clip(balance @ mean / np.maximum(length, 1e-6), -1, 1))
    spread = math.sqrt(float(weights @ off**2 / weights.sum()) / 2)
    return mean, spread, float(np.mean(1 / np.maximum(1, off / _HUBER) ** 2))


def _level_floor(up: Floats, variance: float, feet: Floats, moments: float) -> tuple[Floats, float]:
    """Turn upwards so that the places where feet stand are level, as far as they are apart.

    Args:
        variance: of the direction about each axis, radians^2.
        feet: [F, 3] the ankle that stands.
    """
    across = _unit(np.cross(up, [0.0, 0.0, 1.0]) if abs(up[2]) < 0.9 else np.cross(up, [1.0, 0.0, 0.0]))
    axes = np.stack([across, np.cross(up, across)])
    start = up
    for _ in range(_PASSES):
        apart = feet - np.median(feet, axis=0)
        height = apart @ up
        height -= np.median(height)
        weights = 1 / np.maximum(1, np.abs(height) / _FLOOR_ERROR_M)
        weights *= moments / len(feet) / _FLOOR_ERROR_M**2
        level = apart @ axes.T
        level -= np.average(level, axis=0, weights=weights)
        precision = (level * weights[:, None]).T @ level + np.eye(2) / variance
        at_start = apart @ start
        turn = -np.linalg.solve(precision, (level * weights[:, None]).T @ (at_start - np.median(at_start)))
        up = _unit(start + turn @ axes)
    return up, float(np.trace(np.linalg.inv(precision)) / 2)


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
