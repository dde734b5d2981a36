"""Contacts and locked feet in a live stream: each pose is answered from it and from those before it.

The state is small and made of arrays, so that it can be stored between frames. What a clip does with frames to come, a
stream does with a lag: contacts are told about 0.06 s late, and corrections fade instead of being planned.
"""

import math
from dataclasses import dataclass, replace

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
from poselift.motion.live.leg import Vector, add, bend_leg, limited_vector, minus
from poselift.motion.world import FootLock

Floats = NDArray[np.float64]

# How fast corrections follow standing feet, and fade.
_ROOT_FOLLOWS_S = 0.5
_ROOT_FADES_S = 1.0
_LEG_FADES_S = 0.1
# A foot that stands comes back to where it is seen so slowly that it does not seem to slide.
_ANCHOR_FADES_S = 2.0
_GROUND_FOLLOWS_S = 0.15


@dataclass(frozen=True)
class FeetState:
    """What is known of the feet after some frames.

    Attributes:
        recent: [N, 3, 3] left ankle, right ankle and pelvis of the last frames; each a float32 number, for less space.
        times_s: [N] of these.
        odds: [2] log-odds that a foot touches the ground.
        held: [2] whether it is held.
        anchors: [2, 3] where.
        root: [3] how far the person is moved.
        legs: [2, 3] how far ankles are moved besides.
    """

    recent: Floats
    times_s: Floats
    odds: Floats
    held: NDArray[np.bool_]
    anchors: Floats
    root: Floats
    legs: Floats


def no_feet() -> FeetState:
    """The state before the first frame."""
    none = np.zeros((2, 3))
    return FeetState(
        np.empty((0, 3, 3)), np.empty(0), np.zeros(2), np.zeros(2, np.bool_), none, np.zeros(3), none.copy()
    )


def advance_feet(
    state: FeetState, pose: NDArray[np.floating], time_s: float, mode: FootLock, standing_ankle_m: float
) -> tuple[FeetState, Floats, Floats]:
    """Take one more frame.

    Args:
        pose: [17, 3] metres, world axes, y up.
        time_s: later than that of the frame before.
        standing_ankle_m: height of a standing person's ankles, for the modes that put feet to the ground.
    Returns:
        The new state, the probabilities [2] of contacts, and the pose [17, 3] with locked feet.
    """
    first = int(state.times_s.searchsorted(time_s - GROUND_S))
    seen_pose: Floats = pose.astype(np.float64)
    tracked = seen_pose[None, TRACKED].astype(np.float32).astype(np.float64)
    recent = np.concatenate([state.recent[first:], tracked])
    times = np.concatenate([state.times_s[first:], [time_s]])
    step_s = time_s - float(times[-2]) if len(times) > 1 else CONTACT_SMOOTH_S
    odds = [add_evidence(*each) for each in zip(state.odds.tolist(), live_evidence(recent, times), strict=True)]
    contacts = [_probability(each) for each in odds]
    seen = FeetState(recent, times, np.array(odds), state.held, state.anchors, state.root, state.legs)
    if mode == "off":
        return seen, np.array(contacts), seen_pose
    moved, shown = _lock(seen, seen_pose, contacts, step_s, mode, standing_ankle_m)
    return moved, np.array(contacts), shown


def _lock(
    state: FeetState, pose: Floats, contacts: list[float], step_s: float, mode: FootLock, standing_ankle_m: float
) -> tuple[FeetState, Floats]:
    ankles = pose[ANKLES].tolist()
    root = state.root.tolist()
    if mode in ("grounding", "always"):
        lower = min(ankles[0][1], ankles[1][1])
        root[1] += _part(step_s, _GROUND_FOLLOWS_S) * (standing_ankle_m - lower - root[1])
    if mode == "grounding":
        return replace(state, root=np.array(root)), pose + root
    if mode == "always":
        shares = weight_shares(pose[None, ANKLES, 1])[0].tolist()
        contacts = [max(each) for each in zip(contacts, shares, strict=True)]
    held = [each > 0.5 for each in contacts]
    fading, returning = 1 - _part(step_s, _LEG_FADES_S), _part(step_s, _ANCHOR_FADES_S)
    anchors, legs, wanted = [], [], []
    before = zip(state.held.tolist(), state.anchors.tolist(), state.legs.tolist(), strict=True)
    for ankle, holds, (was_held, anchor, leg) in zip(ankles, held, before, strict=True):
        leg = [fading * each for each in leg]
        there = add(ankle, root)
        # A foot is held where it is shown, not where it is seen: nothing jumps.
        anchor = anchor if holds and was_held else add(there, leg)
        anchor = [each + returning * (seen - each) for each, seen in zip(anchor, there, strict=True)]
        anchors.append(anchor)
        legs.append(leg)
        if holds:
            wanted.append(minus(anchor, ankle))
    root = _follow(root, wanted, step_s, level_only=mode == "always")
    for foot in range(2):
        leg = minus(minus(anchors[foot], ankles[foot]), root) if held[foot] else legs[foot]
        legs[foot] = limited_vector(leg, FARTHEST_JOINT_M)
    moved_root = np.array(root)
    state = FeetState(
        state.recent, state.times_s, state.odds, np.array(held), np.array(anchors), moved_root, np.array(legs)
    )
    return state, _bent(pose + moved_root, legs)


def _bent(pose: Floats, shifts: list[list[float]]) -> Floats:
    """The pose, which is changed, with ankles that are shifted as far as legs reach."""
    hips_knees_ankles = pose[LEGS].tolist()
    for foot, shift in enumerate(shifts):
        if any(shift):
            hip, knee, ankle = hips_knees_ankles[foot]
            pose[LEGS[foot, 1]], pose[LEGS[foot, 2]] = bend_leg(hip, knee, ankle, shift)
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
