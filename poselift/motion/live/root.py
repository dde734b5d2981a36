"""Where a person is before the camera, frame by frame: as `root_path`, for streams.

For a single frame a call of NumPy takes longer than its arithmetic. So there are few of them here, and what is about
one number is done in Python.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.motion.root_path import (
    ACCELERATION,
    COMES_TO_REST_S,
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


class Followed(NamedTuple):
    """One number of the place of the pelvis, and its change per second.

    Attributes:
        mean, change: the estimate.
        variance: of the mean; infinite if nothing is known yet.
        covariance, change_variance: of both, and of the change.
    """

    mean: float
    change: float
    variance: float
    covariance: float
    change_variance: float


Root = tuple[Followed, Followed, Followed]
"""The ray and the logarithm of the distance of the pelvis, as in `RootFixes`."""
UNKNOWN = Followed(0.0, 0.0, math.inf, math.inf, math.inf)
UNKNOWN_ROOT: Root = (UNKNOWN, UNKNOWN, UNKNOWN)


def place_of(root: Root) -> list[float]:
    """Where the pelvis is, [3] metres."""
    (x, *_), (y, *_), (log_distance, *_) = root
    distance = math.exp(log_distance)
    return [x * distance, y * distance, distance]


def follow_root(root: Root, step_s: float, pose: Floats, rays: Floats, error_m: Floats) -> Root:
    """A step of the Kalman filter whose smoother is `smooth_path`.

    Args:
        step_s: since the frame before.
        pose: [17, 3] metres, relative to the pelvis.
        rays: [17, 2] slopes of the rays that the joints are seen along; NaN where a joint is missing.
        error_m: [17] expected error of each joint.
    """
    distance = root[2]
    if distance.variance < math.inf:
        depth = math.exp(distance.mean)
        values, variances = locate_near(pose, rays, error_m, depth)
    else:
        fixes = locate(pose[None], rays[None], error_m[None])
        values, variances = fixes.values[0].tolist(), fixes.variances[0].tolist()
        depth = math.exp(values[2])
    t = min(step_s, _LONGEST_STEP_S)
    x, y, z = (
        _step(before, t, value, variance, spectrum / depth**2, _FASTEST_M_S / depth)
        for before, value, variance, spectrum in zip(root, values, variances, _ACCELERATION, strict=True)
    )
    return x, y, z


def _step(before: Followed, t: float, value: float, variance: float, noise: float, fastest: float) -> Followed:
    """Predict one number over a time, and correct it by what was measured; `fastest`: how it may change at first."""
    x, v, a, b, c = before
    if a == math.inf:
        return Followed(value, 0.0, variance, 0.0, fastest**2)
    a, b, c = a + 2 * t * b + t * t * c + noise * t**3 / 3, b + t * c + noise * t * t / 2, c + noise * t
    if variance == math.inf:
        slower = math.exp(-t / COMES_TO_REST_S)
        return Followed(x + COMES_TO_REST_S * (1 - slower) * v, slower * v, a, b, c)
    x += t * v
    gain, drift = a / (a + variance), b / (a + variance)
    x, v = x + gain * (value - x), v + drift * (value - x)
    return Followed(x, v, a - gain * a, b - gain * b, c - drift * b)


def locate_near(pose: Floats, rays: Floats, error_m: Floats, distance_m: float) -> tuple[list[float], list[float]]:
    """As `locate`, of one frame whose distance is about known.

    Args:
        pose, rays, error_m: as in `follow_root`.
    Returns:
        The values and the variances, three each.
    """
    terms, seen = _terms(pose, rays)
    base = error_m * error_m + KEYPOINT_ERROR_M**2
    weights = seen / (base + (KEYPOINT_ERROR * distance_m) ** 2)
    unlikely = 0.5 / USUAL_RESIDUAL**2
    for turn in range(_PASSES):
        total, u, v, a, b, squares, products, _ = terms.dot(weights).tolist()
        total = max(total, 1e-12)
        spread = max(squares - (u * u + v * v) / total, 1e-12)
        depth = min(max(((u * a + v * b) / total - products) / spread, NEAREST_M), FARTHEST_M)
        x, y = (u * depth + a) / total, (v * depth + b) / total
        if turn < _PASSES - 1:
            # The sum over the terms is (u depth + a - x)^2 + (v depth + b - y)^2.
            parts = x * x + y * y, -2 * x * depth, -2 * y * depth, -2 * x, -2 * y, depth * depth, 2 * depth, 1.0
            variance = base + (KEYPOINT_ERROR * depth) ** 2
            doubted = variance + np.array([unlikely * part for part in parts]).dot(terms)
            weights = seen * variance / (doubted * doubted)
    values = [x / depth, y / depth, math.log(depth)]
    if not (NEAREST_M < depth < FARTHEST_M) or np.count_nonzero(seen) < 3:
        return values, [math.inf] * 3
    across, along = 1 / (total * depth**2), 1 / (spread * depth**2)
    return values, [each * factor for each, factor in zip((across, across, along), _CORRELATED, strict=True)]


def _terms(pose: Floats, rays: Floats) -> tuple[Floats, Floats]:
    """What weighted least squares sums up, [8, 17], as one product with the weights; and 1 for joints that are seen."""
    u, v = rays.T
    unseen = np.isnan(u + v)
    u, v = np.where(unseen, 0.0, rays.T)
    x, y, z = pose.T
    a, b = u * z - x, v * z - y
    rows = 1.0, u, v, a, b, u * u + v * v, u * a + v * b, a * a + b * b
    terms = np.empty((len(rows), len(pose)))
    for row, values in enumerate(rows):
        terms[row] = values
    return terms, 1.0 - unseen
