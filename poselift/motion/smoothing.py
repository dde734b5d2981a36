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
_FEW_FRAMES = 16


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
    diagonal, upper = couple(step, precision, acceleration)
    right = np.stack([measured, np.zeros_like(measured)], axis=-1)
    return solve_chain(diagonal, upper, right)[..., 0]


def couple(step: Floats, precision: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
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


def solve_chain(diagonal: Floats, upper: Floats, right: Floats) -> Floats:
    """Solve a symmetric block tridiagonal system by cyclic reduction.

    Args:
        diagonal: [F, D, 2, 2].
        upper: [F - 1, D, 2, 2], what frame i takes from frame i + 1.
        right: [F, D, 2].
    """
    # With frames last, each product of blocks is a few operations on long rows.
    last = (2, 3, 1, 0)
    solved = _reduce(
        np.ascontiguousarray(diagonal.transpose(last)),
        np.ascontiguousarray(upper.transpose(last)),
        np.ascontiguousarray(right.transpose(2, 1, 0)[:, None]),
    )
    return solved[:, 0].transpose(2, 1, 0)


def _reduce(diagonal: Floats, upper: Floats, right: Floats) -> Floats:
    """As `solve_chain`, of blocks [2, 2, D, F] and [2, 2, D, F - 1], and columns [2, 1, D, F]."""
    frames = diagonal.shape[-1]
    if frames <= _FEW_FRAMES:
        return _solve_dense(diagonal, upper, right)
    # Frames 1, 3, 5 ... are expressed by their neighbours, which leaves half as many unknowns.
    inverse = _inverse(diagonal[..., 1::2])
    before, after = upper[..., 0::2], upper[..., 1::2]  # couple an odd frame with the one before it, and after it
    odd, even = inverse.shape[-1], frames - inverse.shape[-1]
    half, remaining, middle = diagonal[..., 0::2].copy(), right[..., 0::2].copy(), right[..., 1::2]
    left = _times(before, inverse)
    half[..., :odd] -= _times(left, before.swapaxes(0, 1))
    remaining[..., :odd] -= _times(left, middle)
    onward = _times(after.swapaxes(0, 1), inverse[..., : even - 1])
    half[..., 1:] -= _times(onward, after)
    remaining[..., 1:] -= _times(onward, middle[..., : even - 1])
    solved = np.empty_like(right)
    solved[..., 0::2] = _reduce(half, -_times(left[..., : even - 1], after), remaining)
    known = middle - _times(before.swapaxes(0, 1), solved[..., 0::2][..., :odd])
    known[..., : even - 1] -= _times(after, solved[..., 2::2])
    solved[..., 1::2] = _times(inverse, known)
    return solved


def _solve_dense(diagonal: Floats, upper: Floats, right: Floats) -> Floats:
    """As `_reduce`, as one matrix: further halving takes longer."""
    systems, frames = diagonal.shape[2:]
    matrix = np.zeros((systems, frames, 2, frames, 2))
    here, onward = np.arange(frames), np.arange(frames - 1)
    matrix[:, here, :, here] = diagonal.transpose(3, 2, 0, 1)
    matrix[:, onward, :, onward + 1] = upper.transpose(3, 2, 0, 1)
    matrix[:, onward + 1, :, onward] = upper.transpose(3, 2, 1, 0)
    columns = right[:, 0].transpose(1, 2, 0).reshape(systems, 2 * frames, 1)
    solved = np.linalg.solve(matrix.reshape(systems, 2 * frames, 2 * frames), columns)
    return np.asarray(solved.reshape(systems, frames, 2).transpose(2, 0, 1)[:, None])


def _times(first: Floats, second: Floats) -> Floats:
    """Products of blocks [2, 2, ...] with blocks or columns [2, N, ...]."""
    return np.asarray(first[:, 0, None] * second[None, 0] + first[:, 1, None] * second[None, 1])


def _inverse(blocks: Floats) -> Floats:
    """Of positive definite blocks [2, 2, ...]."""
    (a, b), (c, d) = blocks
    return np.asarray(np.stack([np.stack([d, -b]), np.stack([-c, a])]) / (a * d - b * c))
