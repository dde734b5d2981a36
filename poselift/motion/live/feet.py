"""Contacts and locked feet in a live stream: each pose is answered from it and from those before it.

What a clip does with frames to come, a
stream does with a lag: contacts are told about 0.06 s late, and corrections fade instead of being planned.
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
from poselift.motion.live.leg import Vector, add, bend_leg, limited_vector, minus, scaled
from poselift.motion.world import FootLock

Floats = NDArray[np.float64]

_LEGS: list[list[int]] = LEGS.tolist()
# How fast corrections follow standing feet, and fade.
_ROOT_FOLLOWS_S = 0.5
_ROOT_FADES_S = 1.0
_LEG_FADES_S = 0.1
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
    """

    odds: float
    held: bool
    anchor: Vector
    leg: Vector


class FeetState(NamedTuple):
    """What is known of the feet after some frames.

    Attributes:
        recent: [N, 3, 3] left ankle, right ankle and pelvis of the last frames; each a float32 number, for less space.
        times_s: [N] of these.
        left, right: the feet.
        root: how far the person is moved.
    """

    recent: Floats
    times_s: Floats
    left: Foot
    right: Foot
    root: Vector


_UNKNOWN_FOOT = Foot(odds=0.0, held=False, anchor=[0.0] * 3, leg=[0.0] * 3)
NO_FEET = FeetState(np.empty((0, 3, 3)), np.empty(0), _UNKNOWN_FOOT, _UNKNOWN_FOOT, root=[0.0] * 3)
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
        Foot(add_evidence(foot.odds, evidence), foot.held, foot.anchor, foot.leg)
        for foot, evidence in zip((state.left, state.right), live_evidence(recent, times), strict=True)
    )
    contacts = [_probability(left.odds), _probability(right.odds)]
    state = FeetState(recent, times, left, right, state.root)
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
    root = _follow(root, wanted, step_s, level_only=mode == "always")
    left, right = (_stretch(foot, add(ankle, root)) for foot, ankle in zip(feet, ankles, strict=True))
    state = FeetState(state.recent, state.times_s, left, right, root)
    return state, _bent(pose + root, (left.leg, right.leg))


def _hold(foot: Foot, stands: bool, seen: Vector, step_s: float) -> Foot:
    """Take a foot, keep it, or let it go; it is held where it is shown, not where it is seen, so that nothing jumps."""
    leg = scaled(foot.leg, 1 - _part(step_s, _LEG_FADES_S))
    anchor = foot.anchor if stands and foot.held else add(seen, leg)
    back = scaled(minus(seen, anchor), _part(step_s, _ANCHOR_FADES_S))
    return Foot(foot.odds, stands, add(anchor, back), leg)


def _stretch(foot: Foot, ankle: Vector) -> Foot:
    """Let the leg do what the shift of the person does not."""
    leg = minus(foot.anchor, ankle) if foot.held else foot.leg
    return Foot(foot.odds, foot.held, foot.anchor, limited_vector(leg, FARTHEST_JOINT_M))


def _bent(pose: Floats, shifts: tuple[Vector, Vector]) -> Floats:
    """The pose, which is changed, with ankles that are shifted as far as legs reach."""
    hips_knees_ankles = pose.take(LEGS, 0).tolist()
    for (hip, knee, ankle), shift, (_, *joints) in zip(hips_knees_ankles, shifts, _LEGS, strict=True):
        if any(shift):
            for joint, place in zip(joints, bend_leg(hip, knee, ankle, shift), strict=True):
                pose[joint] = place
    return pose


def _follow(root: Vector, wanted: list[Vector], step_s: float, *, level_only: bool) -> Vector:
    """Move the root towards the shifts that the standing feet want, or back to where it is seen."""
    if wanted:
        part = _part(step_s, _ROOT_FOLLOWS_S) / len(wanted)
        change = [part * (sum(each) - len(wanted) * now) for now, *each in zip(root, *wanted, strict=True)]
    else:
        part = _part(step_s, _ROOT_FADES_S)
        change = [-part * now for now in root]
    if level_only:
        return [root[0] + change[0], root[1], root[2] + change[2]]
    return limited_vector(add(root, change), FARTHEST_ROOT_M)


def _part(step_s: float, lasting_s: float) -> float:
    return 1 - math.exp(-step_s / lasting_s)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))
