"""Contacts and locked feet in a live stream: each pose is answered from it and from those before it.

The state is small and made of arrays, so that it can be stored between frames. What a clip does with frames to come, a
stream does with a lag: contacts are told about 0.06 s late, and corrections fade instead of being planned.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.motion.contacts import (
    ANKLES,
    CONTACT_SMOOTH_S,
    GROUND_S,
    TRACKED,
    add_evidence,
    live_evidence,
    probability,
)
from poselift.motion.foot_locking import FARTHEST_JOINT_M, FARTHEST_ROOT_M, bend_legs, limited, weight_shares
from poselift.motion.world import FootLock

Floats = NDArray[np.float64]

# How fast corrections follow standing feet, and fade.
_ROOT_FOLLOWS_S = 0.3
_ROOT_FADES_S = 0.5
_LEG_FADES_S = 0.1
# A foot that stands comes back to where it is seen so slowly that it does not seem to slide.
_ANCHOR_FADES_S = 2.0
_GROUND_FOLLOWS_S = 0.15


@dataclass(frozen=True)
class FeetState:
    """What is known of the feet after some frames.

    Attributes:
        recent: [N, 3, 3] left ankle, right ankle and pelvis of the last frames.
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
    first = max(0, int(np.searchsorted(state.times_s, time_s - GROUND_S)))
    recent = np.concatenate([state.recent[first:], pose[None, TRACKED].astype(np.float64)])
    times = np.append(state.times_s[first:], time_s)
    step = times[-1] - times[-2] if len(times) > 1 else CONTACT_SMOOTH_S
    odds = add_evidence(state.odds, live_evidence(recent, times))
    contacts = probability(odds)
    seen = FeetState(recent, times, odds, state.held, state.anchors, state.root, state.legs)
    if mode == "off":
        return seen, contacts, pose.astype(np.float64)
    moved, shown = _lock(seen, pose.astype(np.float64), contacts, float(step), mode, standing_ankle_m)
    return moved, contacts, shown


def _lock(
    state: FeetState, pose: Floats, contacts: Floats, step_s: float, mode: FootLock, standing_ankle_m: float
) -> tuple[FeetState, Floats]:
    ankles = pose[ANKLES]
    root = state.root.copy()
    if mode in ("grounding", "always"):
        root[1] += _part(step_s, _GROUND_FOLLOWS_S) * (standing_ankle_m - ankles[:, 1].min() - root[1])
    if mode == "grounding":
        return _with(state, state.held, state.anchors, root, state.legs), pose + root
    touches = contacts if mode == "auto" else np.maximum(contacts, weight_shares(ankles[None, :, 1])[0])
    held = touches > 0.5
    legs = state.legs * (1 - _part(step_s, _LEG_FADES_S))
    # A foot is held where it is shown, not where it is seen: nothing jumps.
    anchors = np.where((held & state.held)[:, None], state.anchors, ankles + root + legs)
    anchors += _part(step_s, _ANCHOR_FADES_S) * (ankles + root - anchors)
    root = _follow(root, (anchors - ankles)[held], step_s, level_only=mode == "always")
    legs = limited(np.where(held[:, None], anchors - ankles - root, legs), FARTHEST_JOINT_M)
    shown = bend_legs((pose + root)[None], legs[None])[0]
    return _with(state, held, anchors, root, legs), shown


def _follow(root: Floats, wanted: Floats, step_s: float, *, level_only: bool) -> Floats:
    """Move the root towards the shifts [H, 3] that the standing feet want, or back to where it is seen."""
    if len(wanted):
        change = _part(step_s, _ROOT_FOLLOWS_S) * (wanted.mean(axis=0) - root)
    else:
        change = -_part(step_s, _ROOT_FADES_S) * root
    change = np.where(np.array([False, level_only, False]), 0.0, change)
    return limited(root + change, FARTHEST_ROOT_M) if not level_only else root + change


def _part(step_s: float, lasting_s: float) -> float:
    return 1 - math.exp(-step_s / lasting_s)


def _with(state: FeetState, held: NDArray[np.bool_], anchors: Floats, root: Floats, legs: Floats) -> FeetState:
    return FeetState(state.recent, state.times_s, state.odds, held, anchors, root, legs)
