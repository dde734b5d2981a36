"""When feet touch the ground, from ankles alone.

A foot touches the ground while its ankle stands still and is low: low compared with where both ankles were lately, so
that an estimated floor which is tilted, or a path that drifts, does no harm. Each frame gives evidence, the log-odds of
a logistic regression on speeds and heights; over time evidence adds up within bounds, so that a state lasts until there
is enough against it (hysteresis).

Letters: F frames. World axes, y up. Feet: left, right.
"""

import math

import numpy as np
from numpy.typing import NDArray

from poselift.skeletons import skeleton

Floats = NDArray[np.float64]

_JOINT = skeleton("h36m17").joint_names.index
PELVIS = _JOINT("pelvis")
ANKLES = np.array([_JOINT("left_ankle"), _JOINT("right_ankle")])
TRACKED = np.array([*ANKLES, PELVIS])

# Positions are averaged over so much time before and after each frame: noise of poses lasts for less.
CONTACT_SMOOTH_S = 0.06
# Where a person goes is averaged over longer.
_TRAVEL_SMOOTH_S = 0.14
# The ground is where the lower ankle was within so much time.
GROUND_S = 0.6
# Slower than this is as good as still.
_STILL_M_S = 0.1
# A foot that is higher than this is held up, though it be still.
_HELD_UP_M = 0.18
_HIGHEST_M = 0.4
_FASTEST_M_S, _SLOWEST_PACE_M_S = 2.0, 0.2
# Ankles that are higher above the pelvis than this are those of someone who lies or stands on their hands.
_ABOVE_PELVIS_M = 0.15

# Log-odds of a contact: logistic regression on films of motion capture (the validation split), lifted from keypoints
# like a detector's; contacts are ankles slower than 0.4 m/s, at most 10 cm higher than those of a standing person.
_CONSTANT = -2.2
_WEIGHTS = np.array(
    [
        -1.9,  # log horizontal speed of the foot
        -1.0,  # log vertical speed of the foot
        0.7,  # log horizontal speed of the other foot
        -1.0,  # log speed of the feet relative to each other
        -4.0,  # height of the foot, metres
        -60.0,  # how much higher it is than a foot that is on its toes, metres; set by hand
        4.2,  # height of the other foot, metres
        -1.1,  # speed relative to the other foot the way that the person goes, m/s
    ]
)
_WEIGHTS_ONE_BY_ONE: tuple[float, ...] = tuple(_WEIGHTS.tolist())
# Frames tell nearly the same as their neighbours: evidence is counted once in so much time.
_INDEPENDENT_S = 0.06
# Log-odds that a state is held with at most; more makes contacts longer and later.
_MOST_CERTAIN = 2.0
# A stream sees one side of each frame only: it averages over less, and believes sooner, or it would be late by more.
_LIVE_SMOOTH_S, _LIVE_INDEPENDENT_S, _LIVE_MOST_CERTAIN, _LIVE_CONSTANT = 0.04, 0.03, 1.0, -1.0


def foot_contacts(poses: NDArray[np.floating], times_s: Floats) -> Floats:
    """Tell when feet touch the ground.

    Args:
        poses: [F, 17, 3] metres, world axes.
        times_s: [F] increasing, seconds.
    Returns:
        [F, 2] probabilities, left and right.
    """
    evidence = contact_evidence(poses, times_s)
    chained = np.empty_like(evidence)
    for foot in range(2):
        chained[:, foot] = _chain(evidence[:, foot].tolist())
    return probability(chained)


def contact_evidence(poses: NDArray[np.floating], times_s: Floats) -> Floats:
    """Log-odds [F, 2] that each frame by itself adds."""
    step_s = _step(times_s)
    frames = _features(poses[:, TRACKED].astype(np.float64), times_s, step_s)
    odds = frames @ _WEIGHTS + _CONSTANT
    above = poses[:, ANKLES, 1] - poses[:, PELVIS, 1, None] > _ABOVE_PELVIS_M
    return np.asarray(np.where(above, -_MOST_CERTAIN, odds) * min(1.0, step_s / _INDEPENDENT_S))


def live_evidence(tracked: Floats, times_s: Floats) -> tuple[float, float]:
    """As `contact_evidence` for the last of some frames, from these frames only.

    Args:
        tracked: [N, 3, 3] left ankle, right ankle and pelvis.
        times_s: [N] increasing.
    Returns:
        Log-odds, left and right.
    """
    count = len(times_s)
    if count < 2:
        return 0.0, 0.0
    step_s = float(times_s[-1] - times_s[0]) / (count - 1)
    rows = tracked.reshape(count, 9)
    near = max(2, round(2 * _LIVE_SMOOTH_S / step_s) + 1)
    velocities = _slope(rows[-near:, :6], times_s[-near:])
    travel = _slope(rows[-max(2, round(2 * _TRAVEL_SMOOTH_S / step_s) + 1) :, 6:], times_s)
    heights: list[list[float]] = [rows[:, 1].tolist(), rows[:, 4].tolist()]
    lowest = min(map(min, heights))
    left, right = (sum(height[-near:]) / min(near, count) - lowest for height in heights)
    odds = live_odds(velocities[:3], velocities[3:], (travel[0], travel[2]), left, right)
    *ankles, pelvis = rows[-1, 1::3].tolist()
    each = (
        -_MOST_CERTAIN if ankle - pelvis > _ABOVE_PELVIS_M else told for ankle, told in zip(ankles, odds, strict=True)
    )
    share = min(1.0, step_s / _LIVE_INDEPENDENT_S)
    left, right = (told * share for told in each)
    return left, right


def live_odds(
    left: list[float], right: list[float], travel: tuple[float, float], left_height: float, right_height: float
) -> tuple[float, float]:
    """As `_feature_rows` and the regression on them, for a stream's frame, in numbers of Python: ten times as fast.

    Args:
        left, right: velocities of the feet.
        travel: horizontal velocity of the pelvis.
        left_height, right_height: of the feet above the ground.
    """
    (lx, ly, lz), (rx, ry, rz), (tx, tz) = left, right, travel
    speeds = math.hypot(lx, lz), math.hypot(rx, rz)
    between = math.log(math.hypot(lx - rx, ly - ry, lz - rz) + _STILL_M_S)
    ahead = ((lx - rx) * tx + (lz - rz) * tz) / math.sqrt(tx * tx + tz * tz + _SLOWEST_PACE_M_S**2)
    ahead = min(max(ahead, -_FASTEST_M_S), _FASTEST_M_S)
    logs = [math.log(speed + _STILL_M_S) for speed in speeds]
    low = min(left_height, _HIGHEST_M), min(right_height, _HIGHEST_M)
    w = _WEIGHTS_ONE_BY_ONE
    left_odds, right_odds = (
        _LIVE_CONSTANT
        + w[0] * logs[foot]
        + w[1] * math.log(abs(rise) + _STILL_M_S)
        + w[2] * logs[1 - foot]
        + w[3] * between
        + w[4] * low[foot]
        + w[5] * max(low[foot] - _HELD_UP_M, 0.0)
        + w[6] * low[1 - foot]
        + w[7] * along
        for foot, rise, along in ((0, ly, ahead), (1, ry, -ahead))
    )
    return left_odds, right_odds


def add_evidence(odds: float, evidence: float) -> float:
    """Log-odds with one frame's evidence more; the bounds are what a change of state costs."""
    return min(max(odds, -_LIVE_MOST_CERTAIN), _LIVE_MOST_CERTAIN) + evidence


def _slope(values: Floats, times_s: Floats) -> list[float]:
    """Slope [D] of a line through values [N, D] at the last N times."""
    times_s = times_s[-len(values) :]
    centred = times_s - sum(times_s.tolist()) / len(times_s)
    slope: list[float] = (centred.dot(values) / centred.dot(centred)).tolist()
    return slope


def _chain(evidence: list[float]) -> list[float]:
    """Log-odds with what frames before and after tell; the bounds are what a change of state costs."""
    before, level = [], 0.0
    for each in evidence:
        level += each
        before.append(level)
        level = _MOST_CERTAIN if level > _MOST_CERTAIN else -_MOST_CERTAIN if level < -_MOST_CERTAIN else level
    level = 0.0
    for index in range(len(evidence) - 1, -1, -1):
        before[index] += level
        level += evidence[index]
        level = _MOST_CERTAIN if level > _MOST_CERTAIN else -_MOST_CERTAIN if level < -_MOST_CERTAIN else level
    return before


def _features(tracked: Floats, times_s: Floats, step_s: float) -> Floats:
    """What contacts are told by, [F, 2, 8], of left ankle, right ankle and pelvis [F, 3, 3]."""
    smooth = _averaged(tracked, round(CONTACT_SMOOTH_S / step_s))
    feet = smooth[:, :2]
    velocity = _derivative(feet, times_s)
    travel = _derivative(_averaged(tracked[:, 2], round(_TRAVEL_SMOOTH_S / step_s)), times_s)[:, None, ::2]
    ground = _lowest(feet[..., 1].min(axis=1), round(GROUND_S / step_s))
    return _feature_rows(velocity, travel, feet[..., 1] - ground[:, None])


def _feature_rows(velocity: Floats, travel: Floats, height: Floats) -> Floats:
    """Features of velocities [F, 2, 3], of the pelvis' horizontal velocity [F, 1, 2] and of heights [F, 2]."""
    level, other = velocity[..., ::2], velocity[:, ::-1, ::2]
    speed = np.sqrt(np.einsum("fik,fik->fi", level, level))
    apart = velocity[:, 0] - velocity[:, 1]
    between = np.sqrt(np.einsum("fk,fk->f", apart, apart))[:, None]
    pace = np.sqrt(np.einsum("fik,fik->fi", travel, travel) + _SLOWEST_PACE_M_S**2)
    ahead = np.clip(
        np.einsum("fik,fik->fi", level - other, travel + np.zeros_like(level)) / pace, -_FASTEST_M_S, _FASTEST_M_S
    )
    low = np.minimum(height, _HIGHEST_M)
    held = np.maximum(low - _HELD_UP_M, 0)
    logs = np.log(np.stack([speed, np.abs(velocity[..., 1]), speed[:, ::-1], between + 0 * speed]) + _STILL_M_S)
    return np.stack([*logs, low, held, low[:, ::-1], ahead], axis=-1)


def _step(times_s: Floats) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0


def _averaged(values: Floats, half: int) -> Floats:
    """Weighted mean over `half` frames to each side, with the weights of a Hann window; the ends are repeated."""
    if half < 1 or len(values) < 2:
        return values
    weights = np.hanning(2 * half + 3)[1:-1]
    flat = np.pad(values.reshape(len(values), -1), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(flat, 2 * half + 1, axis=0)
    return np.asarray(windows @ (weights / weights.sum())).reshape(values.shape)


def _derivative(values: Floats, times_s: Floats) -> Floats:
    """Per second, from the frames before and after."""
    if len(values) < 2:
        return np.zeros_like(values)
    at = np.arange(len(values))
    after, before = np.minimum(at + 1, len(values) - 1), np.maximum(at - 1, 0)
    span = (times_s[after] - times_s[before]).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray((values[after] - values[before]) / span)


def _lowest(heights: Floats, half: int) -> Floats:
    """Lowest [F] within `half` frames to each side, without steps."""
    padded = np.pad(heights, half, mode="edge")
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).min(axis=1)
    return _averaged(lowest, half // 2)


def probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))
