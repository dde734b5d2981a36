"""Unit quaternions w, x, y, z, over any leading dimensions."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-12


def normalised(vectors: Array) -> Array:
    """Divide by the length; a vector of no length stays 0."""
    lengths = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    result: Array = vectors / np.maximum(lengths, _TINY)[..., None]
    return result


def product(a: Array, b: Array) -> Array:
    """The turn `b`, then the turn `a`: [..., 4], [..., 4] -> [..., 4]."""
    aw, ax, ay, az = (a[..., i] for i in range(4))
    bw, bx, by, bz = (b[..., i] for i in range(4))
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def inverse(quaternions: Array) -> Array:
    return quaternions * (1.0, -1.0, -1.0, -1.0)


def turn(quaternions: Array, vectors: Array) -> Array:
    """Turn vectors: [..., 4], [..., 3] -> [..., 3]."""
    axis = quaternions[..., 1:]
    doubled = 2 * cross(axis, vectors)
    return vectors + quaternions[..., :1] * doubled + cross(axis, doubled)


def cross(a: Array, b: Array) -> Array:
    """`numpy.cross` of broadcast [..., 3], in a third of its time."""
    ax, ay, az = (a[..., i] for i in range(3))
    bx, by, bz = (b[..., i] for i in range(3))
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def shortest_arc(start: Array, end: Array) -> Array:
    """The smallest turn that takes one unit vector to another: [..., 3], [..., 3] -> [..., 4].

    Of vectors in opposite directions, the turn is about some axis at right angles to both.
    """
    w = 1 + np.einsum("...k,...k->...", start, end)
    axis = cross(start, end)
    opposite = w < 1e-9
    if opposite.any():
        least = np.eye(3)[np.abs(start).argmin(-1)]
        axis = np.where(opposite[..., None], normalised(cross(start, least)), axis)
        w = np.where(opposite, 0.0, w)
    return normalised(np.concatenate([w[..., None], axis], axis=-1))


def about(axis: Array, angle_rad: Array) -> Array:
    """Turns about unit vectors: [..., 3], [...] -> [..., 4]."""
    half = angle_rad[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * axis], axis=-1)


def from_axes(x: Array, y: Array, z: Array) -> Array:
    """The turn that takes the world's axes to these: [..., 3] each, orthonormal and right-handed -> [..., 4].

    Source: Shepperd 1978; the largest of the four components is found first, so none is lost to rounding.
    """
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = ((x[..., i], y[..., i], z[..., i]) for i in range(3))
    w2, x2, y2, z2 = 1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz
    candidates = np.stack(
        [
            np.stack([w2, yz - zy, zx - xz, xy - yx], axis=-1),
            np.stack([yz - zy, x2, xy + yx, xz + zx], axis=-1),
            np.stack([zx - xz, xy + yx, y2, yz + zy], axis=-1),
            np.stack([xy - yx, xz + zx, yz + zy, z2], axis=-1),
        ],
        axis=-2,
    )
    largest = np.stack([w2, x2, y2, z2], axis=-1).argmax(-1)
    return normalised(np.take_along_axis(candidates, largest[..., None, None], axis=-2)[..., 0, :])


def halfway(a: Array, b: Array) -> Array:
    """The middle of the shorter way between two turns."""
    same_side = np.where(np.einsum("...k,...k->...", a, b) < 0, -1.0, 1.0)
    return normalised(a + same_side[..., None] * b)


def without_sign_changes(quaternions: Array, previous: Array | None = None) -> Array:
    """Choose the signs so that neighbouring frames are on the same side: [F, ..., 4], previous [..., 4].

    Without a previous frame the first has w >= 0. A filter or an interpolation between frames needs this.
    """
    first = np.sign(quaternions[:1, ..., 0]) if previous is None else _side(quaternions[:1], previous[None])
    signs = np.concatenate([np.where(first == 0, 1.0, first), _side(quaternions[1:], quaternions[:-1])])
    return quaternions * np.cumprod(signs, axis=0)[..., None]


def _side(a: Array, b: Array) -> Array:
    return np.where(np.einsum("...k,...k->...", a, b) < 0, -1.0, 1.0)
