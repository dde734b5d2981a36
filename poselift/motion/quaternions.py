"""Unit quaternions w, x, y, z, and vectors, with the components in the first dimension.

So each component is one block of memory, which makes a clip several times faster than components in the last dimension.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-12
_YZX, _ZXY = np.array([1, 2, 0]), np.array([2, 0, 1])
_FEW = 10_000


def dot(a: Array, b: Array) -> Array:
    """[K, ...], [K, ...] -> [...]."""
    result: Array = (a * b).sum(axis=0)
    return result


def normalised(vectors: Array) -> Array:
    """Divide [K, ...] by the length; a vector of no length stays 0."""
    result: Array = vectors / np.maximum(np.sqrt(dot(vectors, vectors)), _TINY)
    return result


def cross(a: Array, b: Array) -> Array:
    """[3, ...], [3, ...] -> [3, ...]."""
    if a.size < _FEW:  # fewer operations, which copy more
        few: Array = a.take(_YZX, 0) * b.take(_ZXY, 0) - a.take(_ZXY, 0) * b.take(_YZX, 0)
        return few
    (ax, ay, az), (bx, by, bz) = a, b
    return _together(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def product(a: Array, b: Array) -> Array:
    """The turn `b`, then the turn `a`: [4, ...], [4, ...] -> [4, ...]."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a, b
    return _together(
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def _together(*components: Array) -> Array:
    """As `np.stack`, which takes twice as long for the few numbers of a live frame."""
    stacked = np.empty((len(components), *components[0].shape))
    for row, component in enumerate(components):
        stacked[row] = component
    return stacked


def inverse(quaternions: Array) -> Array:
    """[4, ...] -> [4, ...]."""
    return np.concatenate([quaternions[:1], -quaternions[1:]])


def turn(quaternions: Array, vectors: Array) -> Array:
    """Turn vectors: [4, ...], [3, ...] -> [3, ...]."""
    doubled = 2 * cross(quaternions[1:], vectors)
    result: Array = vectors + quaternions[0] * doubled + cross(quaternions[1:], doubled)
    return result


def shortest_arc(start: Array, end: Array) -> Array:
    """The smallest turn that takes one unit vector to another: [3, ...], [3, ...] -> [4, ...].

    For vectors in opposite directions it is about some axis at right angles to both.
    """
    arc = np.concatenate([1 + dot(start, end)[None], cross(start, end)])
    opposite = arc[0] < 1e-9
    if opposite.any():
        x, y, z = start[:, opposite]
        flat = np.abs(z) < 0.9
        arc[:, opposite] = np.stack([0 * x, np.where(flat, y, 0), np.where(flat, -x, z), np.where(flat, 0, -y)])
    return normalised(arc)


def about(axis: Array, angle_rad: Array) -> Array:
    """Turns about unit vectors: [3, ...], [...] -> [4, ...]."""
    half = angle_rad / 2
    return np.concatenate([np.cos(half)[None], np.sin(half) * axis])


def from_axes(x: Array, y: Array, z: Array) -> Array:
    """The turn that takes the world's axes to these: [3, ...] each, orthonormal and right-handed -> [4, ...].

    Source: Shepperd 1978; the largest of the four components is found first, so none is lost to rounding.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = x, y, z
    squares = np.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz])
    wx, wy, wz, xy_, xz_, yz_ = yz - zy, zx - xz, xy - yx, xy + yx, xz + zx, yz + zy
    w2, x2, y2, z2 = squares
    candidates = np.stack([[w2, wx, wy, wz], [wx, x2, xy_, xz_], [wy, xy_, y2, yz_], [wz, xz_, yz_, z2]])
    return normalised(np.take_along_axis(candidates, squares.argmax(0)[None, None], axis=0)[0])


def halfway(a: Array, b: Array) -> Array:
    """The middle of the shorter way between two turns: [4, ...], [4, ...] -> [4, ...]."""
    return normalised(a + np.where(dot(a, b) < 0, -1.0, 1.0) * b)
