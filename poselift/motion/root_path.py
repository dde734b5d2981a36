"""Where a person is before the camera: the place of the pelvis that makes the joints project to their keypoints.

Each joint (X, Y, Z) relative to the pelvis that is seen along the ray (u, v, 1) gives two linear equations in the place
(x, y, z) of the pelvis, X + x = u (Z + z) and Y + y = v (Z + z). They are solved by weighted least squares, a few times
over, so that joints that do not fit lose their weight.

Letters: F frames, J = 17 joints. Camera axes, metres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.motion.smoothing import smooth

Floats = NDArray[np.float64]

# Nobody is closer to a camera that sees them.
NEAREST_M = 0.3
FARTHEST_M = 500.0
_PASSES = 5
# So many joints tell a place and a distance.
_FEWEST_JOINTS = 3
# Whoever leaves the picture, or has not come yet, comes to rest in so long: nothing tells how far they go on.
COMES_TO_REST_S = 0.5
# A residual of more than this many standard deviations counts as less, the larger the less (Geman and McClure).
USUAL_RESIDUAL = 3.0
# What a detector and its definition of a joint are off by, at the person's distance; and by its lens.
KEYPOINT_ERROR_M = 0.025
KEYPOINT_ERROR = 0.001
# Errors of the joints of one frame are alike, and last for many frames: the variance of the place is so many times what
# independent errors would make it, across the view and along it.
CORRELATED = np.array([4.0, 4.0, 60.0])
# Spectral density of people's acceleration, m^2 / s^3, across the view and along it.
ACCELERATION = np.array([20.0, 20.0, 4.0])


@dataclass(frozen=True)
class RootFixes:
    """The place of the pelvis, frame by frame, as a ray and a distance, whose errors are nearly independent.

    Attributes:
        values: [F, 3] x / z, y / z, and the logarithm of z.
        variances: [F, 3] of these; infinite where too few joints were seen.
    """

    values: Floats
    variances: Floats

    @property
    def places(self) -> Floats:
        """[F, 3] metres."""
        return places_of(self.values)


def places_of(values: Floats) -> Floats:
    """Places [F, 3] of rays and logarithms of distances [F, 3]."""
    z = np.exp(values[..., 2:])
    return np.concatenate([values[..., :2] * z, z], axis=-1)


def locate(poses: Floats, rays: Floats, error_m: Floats) -> RootFixes:
    """Find the pelvis in each frame by itself.

    Args:
        poses: [F, 17, 3] relative to the pelvis.
        rays: [F, 17, 2] slopes of the rays that the joints are seen along; NaN where a joint is missing.
        error_m: [F, 17] expected error of each joint.
    """
    seen = ~np.isnan(rays[..., 0] + rays[..., 1])
    u, v = np.where(seen, rays[..., 0], 0.0), np.where(seen, rays[..., 1], 0.0)
    x, y, z = poses[..., 0], poses[..., 1], poses[..., 2]
    a, b = u * z - x, v * z - y
    base = error_m * error_m + KEYPOINT_ERROR_M**2
    weights = seen / base
    for turn in range(_PASSES):
        place, spread, total = _solve(u, v, a, b, weights)
        if turn < _PASSES - 1:
            depth = place[:, 2:]
            miss = (place[:, :1] - u * depth - a) ** 2 + (place[:, 1:2] - v * depth - b) ** 2
            variance = base + (KEYPOINT_ERROR * depth) ** 2
            weights = seen / variance / (1 + miss / (2 * USUAL_RESIDUAL**2 * variance)) ** 2
    return _fixes(place, spread, total, is_in_view(rays))


def is_in_view(rays: Floats) -> NDArray[np.bool_]:
    """Whether enough joints are seen to tell where a person is: rays [..., 17, 2] as in `locate` -> [...]."""
    return np.asarray((~np.isnan(rays).any(axis=-1)).sum(axis=-1) >= _FEWEST_JOINTS)


def _solve(u: Floats, v: Floats, a: Floats, b: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Minimise the sum of w ((x - u z - a)^2 + (y - v z - b)^2); the place, and the precision of z and of x, y."""
    total = np.maximum(weights.sum(axis=1), 1e-12)
    share = weights / total[:, None]
    mean_u, mean_v, mean_a, mean_b = (np.einsum("fj,fj->f", share, each) for each in (u, v, a, b))
    du, dv = u - mean_u[:, None], v - mean_v[:, None]
    spread = np.einsum("fj,fj->f", weights, du * du + dv * dv)
    slope = np.einsum("fj,fj->f", weights, du * a + dv * b)
    depth = np.clip(-slope / np.maximum(spread, 1e-12), NEAREST_M, FARTHEST_M)
    place = np.stack([mean_u * depth + mean_a, mean_v * depth + mean_b, depth], axis=-1)
    return place, spread, total


def _fixes(place: Floats, spread: Floats, total: Floats, usable: NDArray[np.bool_]) -> RootFixes:
    depth = place[:, 2]
    with np.errstate(divide="ignore"):
        across, along = 1 / (total * depth**2), 1 / (spread * depth**2)
    usable = usable & (depth > NEAREST_M) & (depth < FARTHEST_M)
    variances = np.where(usable[:, None], np.stack([across, across, along], axis=-1) * CORRELATED, np.inf)
    values = np.stack([place[:, 0] / depth, place[:, 1] / depth, np.log(depth)], axis=-1)
    return RootFixes(values, variances)


def smooth_path(times_s: Floats, fixes: RootFixes) -> Floats:
    """The path of the pelvis over a whole clip, [F, 3] metres."""
    measured = np.flatnonzero(np.isfinite(fixes.variances[:, 2]))
    if not len(measured):
        return fixes.places
    depth = np.exp(np.median(fixes.values[measured, 2]))
    values = smooth(times_s, fixes.values, fixes.variances, ACCELERATION / depth**2)
    first, last = measured[0], measured[-1]
    for end, beyond in ((first, slice(0, first)), (last, slice(last + 1, None))):
        # Beyond what was measured, smoothing goes on in a straight line.
        away_s = np.abs(times_s[beyond, None] - times_s[end])
        slower = COMES_TO_REST_S * -np.expm1(-away_s / COMES_TO_REST_S) / away_s
        values[beyond] = values[end] + slower * (values[beyond] - values[end])
    return places_of(values)
