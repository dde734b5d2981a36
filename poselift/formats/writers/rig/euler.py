"""Rotations as three angles about the axes of a joint, as BVH has them."""

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import rotation_from_quaternion

Array = NDArray[np.float64]


def euler_deg(rotations: Array, order: str) -> Array:
    """Angles whose turns in this order, each about the axes that the last one turned, make the rotations.

    Each rotation has two such triples, and turns of 360 degrees more; of them those are chosen that are near the ones
    of the frame before.

    Args:
        rotations: [F, ..., 4] unit quaternions w, x, y, z, over time.
        order: three different axes, such as "ZXY".
    Returns:
        [F, ..., 3] degrees, in the order of the axes.
    """
    angles = _angles_deg(rotation_from_quaternion(rotations), order)
    other = angles * np.array([1, -1, 1]) + 180
    same_deg = _distance(angles[1:], angles[:-1])
    change_deg = _distance(other[1:], angles[:-1])
    # The other triple of the other triple is the first one again, so what counts is how often the choice has changed.
    changed = np.zeros(angles.shape[:-1], bool)
    changed[1:] = np.cumsum(change_deg < same_deg, axis=0) % 2 == 1
    chosen = np.where(changed[..., None], other, angles)
    return np.asarray(np.unwrap(chosen, period=360, axis=0))


def _angles_deg(matrices: Array, order: str) -> Array:
    """One of both triples: [..., 3, 3] -> [..., 3]."""
    first, second, third = ("XYZ".index(axis) for axis in order)
    sign = 1 if (second - first) % 3 == 1 else -1

    def entry(row: int, column: int) -> Array:
        return np.asarray(matrices[..., row, column])

    last = np.arctan2(-sign * entry(first, second), entry(first, first))
    middle = np.arctan2(sign * entry(first, third), np.hypot(entry(first, first), entry(first, second)))
    # What is left without the last turn; so the three agree even where the middle one is a right angle and the last one
    # is arbitrary.
    cosine, sine = np.cos(last), np.sin(last)
    begun = np.arctan2(
        sign * (cosine * entry(third, second) + sign * sine * entry(third, first)),
        cosine * entry(second, second) + sign * sine * entry(second, first),
    )
    return np.asarray(np.degrees(np.stack([begun, middle, last], axis=-1)))


def _distance(first: Array, second: Array) -> Array:
    """How far triples are apart, degrees: [..., 3] -> [...]."""
    return np.asarray(np.abs((first - second + 180) % 360 - 180).sum(-1))
