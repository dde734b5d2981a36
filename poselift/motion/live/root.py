"""Where a person is before the camera, frame by frame: as `root_path`, for streams.

Of a single frame a call of NumPy takes longer than its arithmetic. So there are few of them here, and what is about one
number is done in Python.
"""

import math

import numpy as np
from numpy.typing import NDArray

from poselift.motion.root_path import (
    ACCELERATION,
    CORRELATED,
    FARTHEST_M,
    KEYPOINT_ERROR,
    KEYPOINT_ERROR_M,
    NEAREST_M,
    USUAL_RESIDUAL,
    locate,
)

Floats = NDArray[np.float64]

_PASSES = 3
_FASTEST_M_S = 2.0
_LONGEST_STEP_S = 2.0
_CORRELATED: tuple[float, ...] = tuple(CORRELATED.tolist())
_ACCELERATION: tuple[float, ...] = tuple(ACCELERATION.tolist())


def follow_root(
    mean: Floats, covariance: Floats, step_s: float, pose: Floats, rays: Floats, error_m: Floats
) -> tuple[Floats, Floats]:
    """A step of the Kalman filter whose smoother is `smooth_path`.

    Args:
        mean: [3, 2] ray and logarithm of the distance of the pelvis, as in `RootFixes`, and their change per second.
        covariance: [3, 3] of each: variance of the value, covariance, variance of the change; infinite if nothing is
            known yet.
        step_s: since the frame before.
        pose: [17, 3] metres, relative to the pelvis.
        rays: [17, 2] slopes of the rays that the joints are seen along; NaN where a joint is missing.
        error_m: [17] expected error of each joint.
    Returns:
        The mean and the covariance now.
    """
    log_distance = float(mean[2, 0])
    if float(covariance[2, 0]) < math.inf:
        values, variances = locate_near(pose, rays, error_m, math.exp(log_distance))
        depth = math.exp(log_distance)
    else:
        fixes = locate(pose[None], rays[None], error_m[None])
        values, variances = fixes.values[0].tolist(), fixes.variances[0].tolist()
        depth = math.exp(values[2])
    t = min(step_s, _LONGEST_STEP_S)
    means, covariances = [], []
    for (x, v), (a, b, c), value, variance, spectrum in zip(
        mean.tolist(), covariance.tolist(), values, variances, _ACCELERATION, strict=True
    ):
        if a == math.inf:
            means.append((value, 0.0))
            covariances.append((variance, 0.0, (_FASTEST_M_S / depth) ** 2))
            continue
        noise = spectrum / depth**2
        x += t * v
        a, b, c = a + 2 * t * b + t * t * c + noise * t**3 / 3, b + t * c + noise * t * t / 2, c + noise * t
        if variance < math.inf:
            gain, drift = a / (a + variance), b / (a + variance)
            x, v = x + gain * (value - x), v + drift * (value - x)
            a, b, c = a - gain * a, b - gain * b, c - drift * b
        means.append((x, v))
        covariances.append((a, b, c))
    return np.array(means), np.array(covariances)


def locate_near(pose: Floats, rays: Floats, error_m: Floats, distance_m: float) -> tuple[list[float], list[float]]:
    """As `locate`, of one frame whose distance is about known.

    Args:
        pose, rays, error_m: as in `follow_root`.
    Returns:
        The values and the variances, three each.
    """
    slopes = rays.T
    seen = ~np.isnan(slopes[0] + slopes[1])
    slopes = np.where(seen, slopes, 0.0)
    shifts = slopes * pose[:, 2] - pose[:, :2].T
    # The sums over the joints that weighted least squares need, as one product with the weights.
    terms = np.empty((7, len(pose)))
    terms[0] = 1.0
    terms[1:3], terms[3:5] = slopes, shifts
    terms[5], terms[6] = (slopes * slopes).sum(axis=0), (slopes * shifts).sum(axis=0)
    base = error_m * error_m + KEYPOINT_ERROR_M**2
    weights = seen / (base + (KEYPOINT_ERROR * distance_m) ** 2)
    for turn in range(_PASSES):
        total, u, v, a, b, squares, products = (terms @ weights).tolist()
        total = max(total, 1e-12)
        spread = max(squares - (u * u + v * v) / total, 1e-12)
        depth = min(max(((u * a + v * b) / total - products) / spread, NEAREST_M), FARTHEST_M)
        x, y = (u * depth + a) / total, (v * depth + b) / total
        if turn < _PASSES - 1:
            off = slopes * depth + shifts
            off -= ((x,), (y,))
            variance = base + (KEYPOINT_ERROR * depth) ** 2
            unlikely = (off * off).sum(axis=0) / variance
            unlikely *= 0.5 / USUAL_RESIDUAL**2
            unlikely += 1.0
            weights = seen / (variance * unlikely * unlikely)
    values = [x / depth, y / depth, math.log(depth)]
    if not (NEAREST_M < depth < FARTHEST_M) or np.count_nonzero(seen) < 3:
        return values, [math.inf] * 3
    across, along = 1 / (total * depth**2), 1 / (spread * depth**2)
    return values, [each * factor for each, factor in zip((across, across, along), _CORRELATED, strict=True)]
