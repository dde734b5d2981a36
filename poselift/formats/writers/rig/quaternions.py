"""Unit quaternions w, x, y, z over time: [F, ..., 4], as the rotations of a motion are stored."""

import numpy as np
from numpy.typing import NDArray

from poselift.motion import quaternions as by_component

Array = NDArray[np.float64]

# Below this angle the arc is a straight line to double precision, and its sine would divide by zero.
_STRAIGHT_RAD = 1e-6


def product(a: Array, b: Array) -> Array:
    """The turn `b`, then the turn `a`: [..., 4], [..., 4] -> [..., 4]."""
    return np.asarray(np.moveaxis(by_component.product(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)), 0, -1))


def inverse(quaternions: Array) -> Array:
    """The turn back: [..., 4] -> [..., 4]."""
    return np.asarray(quaternions * np.array([1.0, -1, -1, -1]))


def turn(quaternions: Array, vectors: Array) -> Array:
    """Turn vectors: [..., 4], [..., 3] -> [..., 3]."""
    turned = by_component.turn(np.moveaxis(quaternions, -1, 0), np.moveaxis(vectors, -1, 0))
    return np.asarray(np.moveaxis(turned, 0, -1))


def without_sign_changes(quaternions: Array) -> Array:
    """Choose the signs so that neighbouring frames are on the same side; the first keeps its own."""
    signs = np.ones(quaternions.shape[:-1])
    signs[1:] = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)
    return np.asarray(quaternions * np.cumprod(signs, axis=0)[..., None])


def slerp(start: Array, end: Array, weight: Array) -> Array:
    """Interpolate between quaternions on the same side; `weight` is that of the end, [..., 1]."""
    angle = np.arccos(np.clip((start * end).sum(-1, keepdims=True), -1, 1))
    straight = angle < _STRAIGHT_RAD
    sine = np.where(straight, 1, np.sin(angle))
    mixed = np.where(straight, 1 - weight, np.sin((1 - weight) * angle) / sine) * start
    mixed += np.where(straight, weight, np.sin(weight * angle) / sine) * end
    return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True))
