"""Which way is down, from how a person moves.

Over time, a person's centre of mass stays above the foot that stands, however far the trunk leans; that direction is
averaged over a clip. Feet that stand in several places tell the tilt of the floor between them.

Letters: F frames. Camera axes, metres.
"""

import math
from typing import NamedTuple

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
_FOOT_AHEAD_M = 0.07
# The foot that is higher than the other by this, or that moves at this speed, carries less weight.
_LIFT_M, _MOVING_M_S = 0.15, 0.8
# Speed is measured over so long.
_SPEED_S = 0.12
_PASSES = 4
# How far from above the feet a centre of mass is, across the line between them; along it, by half of its length more.
_BALANCE_ERROR_M = 0.08
_USUAL_RESIDUAL = 2.0
# The way from the ankles to the neck, in the median over a clip.
_BODY_AXIS_ERROR = math.radians(14)
# Directions last: so long, and a further one says something new.
_INDEPENDENT_S = 1.0
# Errors that averaging does not remove: that of the network, and people who lean.
_LASTING_ERROR = math.radians(2.8)
_FLOOR_ERROR_M = 0.04
_LARGEST_DEG = 60.0
# Of a network's own estimates.
_LEAST_NETWORK_ERROR = math.radians(0.5)
# Of its estimate's errors with those of the estimate from the poses that it lifted, on films of the validation split.
_CORRELATION_ACROSS, _CORRELATION_ALONG = 0.6, 0.8


def estimate_gravity(poses: Floats, path: Floats, times_s: Floats) -> Gravity:
    """Estimate the direction of falling from a clip.

    Args:
        poses: [F, 17, 3] relative to the pelvis.
        path: [F, 3] the pelvis.
        times_s: [F] seconds.
    """
    up = body_axis = _unit(np.median(poses[:, _THORAX] - poses[:, _ANKLES].mean(axis=1), axis=0))
    moments = max(1.0, (times_s[-1] - times_s[0]) / _INDEPENDENT_S) / len(poses)
    still = 1 / (1 + (_speed(poses[:, _ANKLES] + path[:, None], times_s) / _MOVING_M_S) ** 2)
    body = _Body(
        mass=np.ascontiguousarray((_MASS @ poses).T),
        ankles=np.ascontiguousarray(poses[:, _ANKLES].transpose(1, 2, 0)),
        left=np.ascontiguousarray((poses[:, _LEFT_HIP] - poses[:, _RIGHT_HIP]).T),
        path=np.ascontiguousarray(path.T),
        still=np.ascontiguousarray(still.T),
    )
    for _ in range(_PASSES):
        axes = _level_axes(up)
        seen = body.along(np.stack([up, *axes]))
        turn, precision = np.array(axes @ body_axis) / _BODY_AXIS_ERROR**2, np.eye(2) / _BODY_AXIS_ERROR**2
        for information, wanted in (_balance(seen), _level_floor(seen)):
            precision += moments * information
            turn += moments * wanted
        up = _unit(up + np.linalg.solve(precision, turn) @ axes)
    variance = float(np.trace(np.linalg.inv(precision))) + 2 * _LASTING_ERROR**2
    return Gravity(-up, min(math.degrees(math.sqrt(variance)), _LARGEST_DEG), given=False)


class _Body(NamedTuple):
    """What gravity is told by, with the components of vectors first, which is several times as fast.

    Attributes:
        mass: [3, F] the centre of mass, relative to the pelvis.
        ankles: [2, 3, F] likewise.
        left: [3, F] from the right hip to the left one.
        path: [3, F] the pelvis.
        still: [2, F] how still the feet are, up to 1.
    """

    mass: Floats
    ankles: Floats
    left: Floats
    path: Floats
    still: Floats

    def along(self, directions: Floats) -> "_Body":
        """The same in other axes, rows of [3, 3]: upwards, and the two level axes."""
        mass, ankles, left, path = (directions @ each for each in (self.mass, self.ankles, self.left, self.path))
        return _Body(mass, ankles, left, path, self.still)


def gather(directions: NDArray[np.floating], errors_rad: NDArray[np.floating], times_s: Floats) -> Gravity:
    """Make one estimate of those that a network gives for each frame.

    What makes frames differ averages out over a clip; what the network expects of its errors is shared by all frames.

    Args:
        directions: [F, 3] of falling, camera axes, of any length but 0.
        errors_rad: [F] expected errors.
        times_s: [F] seconds.
    """
    units = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    trusted = 1 / np.maximum(errors_rad.astype(np.float64), _LEAST_NETWORK_ERROR) ** 2
    mean = _unit(np.median(units, axis=0))
    for _ in range(_PASSES):
        off = np.linalg.norm(units - mean, axis=1)
        usual = max(float(np.median(off)), 1e-6)
        mean = _unit((trusted / (1 + (off / usual / _USUAL_RESIDUAL) ** 2)) @ units)
    expected = float(np.median(trusted)) ** -0.5
    varying = float(np.median(np.linalg.norm(units - mean, axis=1)))
    moments = max(1.0, (times_s[-1] - times_s[0]) / _INDEPENDENT_S)
    uncertainty = math.degrees(math.hypot(expected, varying / math.sqrt(moments)))
    return Gravity(mean, min(uncertainty, _LARGEST_DEG), given=False)


def combine(clip: Gravity, network: Gravity) -> Gravity:
    """Join the estimate from a clip's poses and the network's own.

    Both rest on one network and err alike: nearly in everything along the line of sight, where depth tells how far
    somebody leans, so that the better one counts nearly alone. Across it they err less alike, and the network no more
    than the clip, however uncertain it is: most of the error that it expects is along the line of sight.
    """
    clip_deg, network_deg = max(clip.uncertainty_deg, 0.1), max(network.uncertainty_deg, 0.1)
    across_deg = min(network_deg, clip_deg)
    across = _best_share(clip_deg, across_deg, _CORRELATION_ACROSS)
    along = _best_share(clip_deg, network_deg, _CORRELATION_ALONG)
    axes = np.stack([clip.direction, *_level_axes(clip.direction)])
    shares = np.array([(across + along) / 2, across, along])
    direction = _unit(clip.direction + shares * (axes @ (network.direction - clip.direction)) @ axes)
    variances = (
        _variance(across, clip_deg, across_deg, _CORRELATION_ACROSS),
        _variance(along, clip_deg, network_deg, _CORRELATION_ALONG),
    )
    return Gravity(direction, math.sqrt(sum(variances) / 2), given=False)


def _best_share(first: float, second: float, correlation: float) -> float:
    """The share of the second of two estimates, by their standard deviations, with which both err least."""
    both = correlation * first * second
    return min(max((first**2 - both) / (first**2 + second**2 - 2 * both), 0.0), 1.0)


def _variance(share: float, first: float, second: float, correlation: float) -> float:
    a, b = (1 - share) * first, share * second
    return a * a + b * b + 2 * correlation * a * b


def _speed(points: Floats, times_s: Floats) -> Floats:
    """Speed [F, P] of points [F, P, 3], m/s, over a short while around each frame."""
    before = np.maximum(np.searchsorted(times_s, times_s - _SPEED_S / 2, side="right") - 1, 0)
    after = np.minimum(np.searchsorted(times_s, times_s + _SPEED_S / 2), len(times_s) - 1)
    way = np.linalg.norm(points[after] - points[before], axis=-1)
    return np.asarray(way / np.maximum(times_s[after] - times_s[before], 1e-6)[:, None])


def _stance(body: _Body) -> Floats:
    """How much of the weight each foot carries, [2, F]: the lower one and the one that stands still the more."""
    height = body.ankles[:, 0]
    weight = body.still * np.exp((height.min(axis=0) - height) / _LIFT_M)
    return np.asarray(weight / weight.sum(axis=0))


def _balance(body: _Body) -> tuple[Floats, Floats]:
    """How to turn upwards so that centres of mass are above the feet.

    Where feet are apart, the centre may be above any place between them.

    Args:
        body: in axes whose first is upwards.
    Returns:
        [2, 2] the precision of the turn about the level axes, and [2] it times the turn; summed over frames.
    """
    # The cross product of leftwards and upwards.
    ahead = np.stack([body.left[2], -body.left[1]])
    ahead *= _FOOT_AHEAD_M / np.maximum(_length(ahead), 1e-6)
    height, *off = body.mass - (body.ankles * _stance(body)[:, None]).sum(axis=0)
    off = off - ahead
    between = body.ankles[0, 1:] - body.ankles[1, 1:]
    length = _length(between)
    along = between / np.maximum(length, 1e-6)
    shares = (off * along).sum(axis=0)
    least = _BALANCE_ERROR_M**2
    most = least + length**2 / 4
    miss = ((off * off).sum(axis=0) - shares**2) / least + shares**2 / most
    # A centre of mass that is high above the feet tells the direction better; that of a person who lies, nothing.
    weights = np.maximum(height, 0) / (1 + miss / _USUAL_RESIDUAL**2)
    lost = weights * (1 / least - 1 / most)
    information = np.eye(2) * (weights @ height) / least - (along * (lost * height)) @ along.T
    return information, off @ weights / least - along @ (lost * shares)


def _level_floor(body: _Body) -> tuple[Floats, Floats]:
    """How to turn upwards so that the places where feet stand are level, as far as they are apart; as `_balance`."""
    height, *level = (body.ankles + body.path).transpose(1, 0, 2).reshape(3, -1)
    weights = body.still.ravel() ** 2 / 2
    height = height - np.median(height)
    weights = weights / (1 + (height / _FLOOR_ERROR_M / _USUAL_RESIDUAL) ** 2) / _FLOOR_ERROR_M**2
    total = weights.sum()
    height -= weights @ height / total
    centred = np.stack(level)
    centred -= (centred @ weights / total)[:, None]
    return (centred * weights) @ centred.T, -centred @ (weights * height)


def _length(vectors: Floats) -> Floats:
    """[K, F] -> [F]."""
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=0)))


def _level_axes(up: Floats) -> Floats:
    """Two directions [2, 3] across upwards; the first is also across the line of sight, unless that is upwards."""
    across = _unit(np.cross(up, [0.0, 0.0, 1.0]) if abs(up[2]) < 0.9 else np.cross(up, [1.0, 0.0, 0.0]))
    return np.stack([across, np.cross(up, across)])


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
