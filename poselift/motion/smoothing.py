"""Smoothing of a noisy path over time: a moving point whose acceleration is white noise.

The estimate is that of a Kalman filter followed by the Rauch-Tung-Striebel smoother, found in one go: it minimises a
quadratic function that couples each frame with its neighbours only, which cyclic reduction solves in log2 F vectorised
steps instead of 2 F small ones.

Letters: F frames, D coordinates that are smoothed independently.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A gap between frames counts as no longer than this: over a longer one a velocity says nothing.
LONGEST_STEP_S = 2.0


def smooth(times_s: Floats, values: Floats, variances: Floats, acceleration: Floats) -> Floats:
    """Smooth paths measured in noise.

    Args:
        times_s: [F] increasing.
        values: [F, D] what was measured.
        variances: [F, D] of the measurements; infinite where there is none.
        acceleration: [D] spectral density of the acceleration, unit of `values` ** 2 / s ** 3.
    Returns:
        [F, D] the most likely positions.
    """
    if len(values) == 1 or not np.isfinite(variances).any():
        return values.copy()
    step = np.minimum(np.diff(times_s), LONGEST_STEP_S)
    precision = 1 / variances
    measured = np.where(precision > 0, values, 0.0) * precision
    diagonal, upper = _couple(step, precision, acceleration)
    right = np.stack([measured, np.zeros_like(measured)], axis=-1)
    return _solve(diagonal, upper, right)[..., 0]


def _couple(step: Floats, precision: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
    """Blocks [F, D, 2, 2] and [F - 1, D, 2, 2] of the matrix over positions and velocities."""
    t = step[:, None] * np.ones_like(acceleration)
    a, b, c = 12 / t**3 / acceleration, 6 / t**2 / acceleration, 2 / t / acceleration
    diagonal = np.zeros((*precision.shape, 2, 2))
    diagonal[..., 0, 0] = precision
    # A trace of velocity is known beforehand, without which a single measurement would leave it open.
    diagonal[..., 1, 1] = 1e-9 / acceleration
    diagonal[:-1] += _block(a, b, b, 2 * c)
    diagonal[1:] += _block(a, -b, -b, 2 * c)
    return diagonal, _block(-a, b, -b, c)


def _block(a: Floats, b: Floats, c: Floats, d: Floats) -> Floats:
    return np.stack([np.stack([a, b], axis=-1), np.stack([c, d], axis=-1)], axis=-2)


def _solve(diagonal: Floats, upper: Floats, right: Floats) -> Floats:
    """Solve a symmetric block tridiagonal system by cyclic reduction.

    Args:
        diagonal: [F, D, 2, 2].
        upper: [F - 1, D, 2, 2], what frame i takes from frame i + 1.
        right: [F, D, 2].
    """
    frames = len(diagonal)
    if frames == 1:
        return np.asarray((_inverse(diagonal) @ right[..., None])[..., 0])
    # Frames 1, 3, 5 ... are expressed by their neighbours, which leaves half as many unknowns.
    inverse = _inverse(diagonal[1::2])
    before, after = upper[0::2], upper[1::2]  # couple an odd frame with the one before it, and after it
    odd, even = len(inverse), frames - len(inverse)
    half, remaining = diagonal[0::2].copy(), right[0::2].copy()
    left = before @ inverse
    half[:odd] -= left @ before.swapaxes(-1, -2)
    remaining[:odd] -= (left @ right[1::2, ..., None])[..., 0]
    onward = after.swapaxes(-1, -2) @ inverse[: even - 1]
    half[1:] -= onward @ after
    remaining[1:] -= (onward @ right[1::2, ..., None][: even - 1])[..., 0]
    solved = np.empty_like(right)
    solved[0::2] = _solve(half, -left[: even - 1] @ after, remaining)
    known = right[1::2] - (before.swapaxes(-1, -2) @ solved[0::2][:odd, ..., None])[..., 0]
    known[: even - 1] -= (after @ solved[2::2, ..., None])[..., 0]
    solved[1::2] = (inverse @ known[..., None])[..., 0]
    return solved


def _inverse(blocks: Floats) -> Floats:
    """Of positive definite blocks [..., 2, 2]."""
    a, b, c, d = blocks[..., 0, 0], blocks[..., 0, 1], blocks[..., 1, 0], blocks[..., 1, 1]
    return _block(d, -b, -c, a) / (a * d - b * c)[..., None, None]
