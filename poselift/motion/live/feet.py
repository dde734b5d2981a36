"""Contacts and locked feet in a live stream: each pose is answered from it and from those before it.

What a clip does with frames to come, a stream does with a lag: contacts are told about 0.06 s late, and corrections
follow and fade, with a speed that never jumps, instead of being planned.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.motion.contacts import (
    ANKLES,
    CONTACT_SMOOTH_S,
    GROUND_S,
    TRACKED,
    add_evidence,
    live_evidence,
)
from poselift.motion.foot_locking import FARTHEST_JOINT_M, FARTHEST_ROOT_M, LEGS, weight_shares
from poselift.motion.live.leg import Vector, add, bend_leg, limited_vector, minus, scaled, settle
from poselift.motion.world import FootLock

Floats = NDArray[np.float64]

_LEGS: list[list[int]] = LEGS.tolist()
# How fast corrections follow standing feet, and fade, per second.
_ROOT_FOLLOWS, _ROOT_FADES, _LEG_FADES = 6.0, 2.0, 20.0
# A foot that stands comes back to where it is seen so slowly that it does not seem to slide.
_ANCHOR_FADES_S = 2.0
_GROUND_FOLLOWS_S = 0.15


class Foot(NamedTuple):
    """What is known of one foot.

    Attributes:
        odds: log-odds that it touches the ground.
        held: whether it is held.
        anchor: where.
        leg: how far its ankle is moved besides the person.
        leg_speed: how that changes per second.
    """

    odds: float
    held: bool
    anchor: Vector
    leg: Vector
    leg_speed: Vector


class FeetState(NamedTuple):
    """What is known of the feet after some frames.

    Attributes:
        recent: [N, 3, 3] left ankle, right ankle and pelvis of the last frames; each a float32 number, for less space.
        times_s: [N] of these.
        left, right: the feet.
        root: how far the person is moved.
        root_speed: how that changes per second.
    """

    recent: Floats
    times_s: Floats
    left: Foot
    right: Foot
    root: Vector
    root_speed: Vector


_NONE = [0.0] * 3
_UNKNOWN_FOOT = Foot(0.0, held=False, anchor=_NONE, leg=_NONE, leg_speed=_NONE)
NO_FEET = FeetState(np.empty((0, 3, 3)), np.empty(0), _UNKNOWN_FOOT, _UNKNOWN_FOOT, root=_NONE, root_speed=_NONE)
"""Before the first frame."""


def advance_feet(
    state: FeetState, pose: NDArray[np.floating], time_s: float, mode: FootLock, standing_ankle_m: float
) -> tuple[FeetState, list[float], Floats]:
    """Take one more frame.

    Args:
        pose: [17, 3] metres, world axes, y up.
        time_s: later than that of the frame before.
        standing_ankle_m: height of a standing person's ankles, for the modes that put feet to the ground.
    Returns:
        The new state, the probabilities of contacts, left and right, and the pose [17, 3] with locked feet.
    """
    first = int(state.times_s.searchsorted(time_s - GROUND_S))
    seen: Floats = pose.astype(np.float64)
    tracked = seen.take(TRACKED, 0).astype(np.float32).astype(np.float64)
    recent = np.concatenate([state.recent[first:], tracked[None]])
    times = np.concatenate([state.times_s[first:], [time_s]])
    step_s = time_s - float(times[-2]) if len(times) > 1 else CONTACT_SMOOTH_S
    left, right = (
        foot._replace(odds=add_evidence(foot.odds, evidence))
        for foot, evidence in zip((state.left, state.right), live_evidence(recent, times), strict=True)
    )
    contacts = [_probability(left.odds), _probability(right.odds)]
    state = FeetState(recent, times, left, right, state.root, state.root_speed)
    if mode == "off":
        return state, contacts, seen
    state, shown = _lock(state, seen, contacts, step_s, mode, standing_ankle_m)
    return state, contacts, shown


def _lock(
    state: FeetState, pose: Floats, contacts: list[float], step_s: float, mode: FootLock, standing_ankle_m: float
) -> tuple[FeetState, Floats]:
    ankles = pose.take(ANKLES, 0).tolist()
    root = state.root
    if mode in ("grounding", "always"):
        lower = min(ankles[0][1], ankles[1][1])
        rise = _part(step_s, _GROUND_FOLLOWS_S) * (standing_ankle_m - lower - root[1])
        root = [root[0], root[1] + rise, root[2]]
    if mode == "grounding":
        return state._replace(root=root), pose + root
    if mode == "always":
        shares = weight_shares(pose[None, ANKLES, 1])[0].tolist()
        contacts = [max(each) for each in zip(contacts, shares, strict=True)]
    feet = [
        _hold(foot, contact > 0.5, add(ankle, root), step_s)
        for foot, contact, ankle in zip((state.left, state.right), contacts, ankles, strict=True)
    ]
    wanted = [minus(foot.anchor, ankle) for foot, ankle in zip(feet, ankles, strict=True) if foot.held]
    root, root_speed = _follow(root, state.root_speed, wanted, step_s, level_only=mode == "always")
    left, right = (_stretch(foot, add(ankle, root), step_s) for foot, ankle in zip(feet, ankles, strict=True))
    state = FeetState(state.recent, state.times_s, left, right, root, root_speed)
    return state, _bent(pose + root, (left.leg, right.leg))


def _hold(foot: Foot, stands: bool, seen: Vector, step_s: float) -> Foot:
    """Take a foot, keep it, or let it go; it is held where it is shown, not where it is seen, so that nothing jumps."""
    if stands and foot.held:
        leg, leg_speed, anchor = foot.leg, foot.leg_speed, foot.anchor
    else:
        leg, leg_speed = settle(foot.leg, foot.leg_speed, _LEG_FADES, step_s)
        anchor = add(seen, leg)
    back = scaled(minus(seen, anchor), _part(step_s, _ANCHOR_FADES_S))
    return Foot(foot.odds, stands, add(anchor, back), leg, leg_speed)


def _stretch(foot: Foot, ankle: Vector, step_s: float) -> Foot:
    """Let the leg of a foot that is held do what the shift of the person does not."""
    if not foot.held:
        return foot
    leg = limited_vector(minus(foot.anchor, ankle), FARTHEST_JOINT_M)
    return Foot(foot.odds, foot.held, foot.anchor, leg, scaled(minus(leg, foot.leg), 1 / step_s))


def _bent(pose: Floats, shifts: tuple[Vector, Vector]) -> Floats:
    """The pose, which is changed, with ankles that are shifted as far as legs reach."""
    hips_knees_ankles = pose.take(LEGS, 0).tolist()
    for (hip, knee, ankle), shift, (_, *joints) in zip(hips_knees_ankles, shifts, _LEGS, strict=True):
        if any(shift):
            for joint, place in zip(joints, bend_leg(hip, knee, ankle, shift), strict=True):
                pose[joint] = place
    return pose


def _follow(
    root: Vector, speed: Vector, wanted: list[Vector], step_s: float, *, level_only: bool
) -> tuple[Vector, Vector]:
    """Move the root towards the shifts that the standing feet want, or back to where it is seen; and its speed then."""
    target = [sum(each) / len(wanted) for each in zip(*wanted, strict=True)] if wanted else _NONE
    off, speed = settle(minus(root, target), speed, _ROOT_FOLLOWS if wanted else _ROOT_FADES, step_s)
    moved = add(target, off)
    if level_only:
        return [moved[0], root[1], moved[2]], [speed[0], 0.0, speed[2]]
    return limited_vector(moved, FARTHEST_ROOT_M), speed


def _part(step_s: float, lasting_s: float) -> float:
    return 1 - math.exp(-step_s / lasting_s)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))
