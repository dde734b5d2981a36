"""Contacts and locked feet on films whose truth is known, for `tests.benchmarks.motion`.

No index says when feet touch the ground, so the true motion does: an ankle touches it while it is slower than 0.4 m/s
and less than 10 cm above a standing one. The floor is 8.5 cm below all but 2 % of the lower ankles of a film; states
that last for less than 3 frames are none. A dancer who turns flips on the hands, and people who only stand, are left
out: the first has no such labels, the others have nothing to tell.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from poselift_training.data.mocap import Motion

from poselift.lifting import Lifted
from poselift.motion.clip import motion_of
from poselift.motion.live.advance import advance
from poselift.motion.live.state import LiveState
from poselift.motion.world import FootLock, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.films import Film, shortened

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_JOINT = skeleton("h36m17").joint_names.index
_ANKLES = [_JOINT("left_ankle"), _JOINT("right_ankle")]
STANDING_ANKLE_M, HIGHEST_M, FASTEST_M_S = 0.085, 0.10, 0.4
FLOOR_QUANTILE = 0.02
SHORTEST_STATE = 3
WITHOUT_LABELS = ("CMU85", "RAI")
WALKS = ("walk", "run")
# A stream's feet are scored once its world has settled.
LIVE_FROM_S = 1.2


@dataclass(frozen=True)
class Feet:
    """What was found of the feet in one film.

    Attributes:
        told, true: [F, 2] whether feet touch the ground.
        slides_mm: how far feet that truly stand move from frame to frame along the ground, without and with `auto`.
        jerk: m/s^3, mean over joints, without and with it.
        mpjpe_mm: error of the pose about the pelvis, without and with it.
    """

    told: Flags
    true: Flags
    slides_mm: tuple[Floats, Floats]
    jerk: tuple[float, float]
    mpjpe_mm: tuple[float, float]


def with_labels(motion: Motion) -> Motion:
    """The clips whose feet are scored."""
    return shortened(
        motion, [row for row, subject in enumerate(motion.subjects) if not subject.startswith(WITHOUT_LABELS)]
    )


def is_walk(film: Film) -> bool:
    """Whether somebody walks or runs in it."""
    return any(word in film.name for word in WALKS)


def true_contacts(world: Floats, fps: float) -> Flags:
    """Labels [F, 2] of true motion [F, 17, 3], z up."""
    ankles = world[:, _ANKLES]
    floor = np.quantile(ankles[..., 2].min(axis=1), FLOOR_QUANTILE) - STANDING_ANKLE_M
    speed = np.linalg.norm(np.gradient(ankles, axis=0), axis=-1) * fps
    padded = np.pad(speed, ((1, 1), (0, 0)), mode="edge")
    slow = (padded[:-2] + padded[1:-1] + padded[2:]) / 3 < FASTEST_M_S
    low = ankles[..., 2] - floor < STANDING_ANKLE_M + HIGHEST_M
    return np.stack([_without_short_states(each) for each in (slow & low).T], axis=1)


def _without_short_states(states: Flags) -> Flags:
    states = states.copy()
    for value in (False, True):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], states == value, [False]]).astype(int)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start < SHORTEST_STATE and start > 0 and stop < len(states):
                states[start:stop] = not value
    return states


def score_feet(film: Film, sequence: Sequence, lifted: Lifted, *, live: bool) -> Feet:
    """Put a film into the world with and without locked feet, focal length and height known, gravity estimated."""
    place = _place_live if live else _place_clip
    loose, contacts = place(lifted, sequence, "off")
    locked, _ = place(lifted, sequence, "auto")
    fps = 1 / float(np.median(np.diff(sequence.times_s)))
    scored = slice(round(LIVE_FROM_S * fps) if live else 0, None)
    world = film.world.astype(np.float64)
    true, truth = true_contacts(world, fps)[scored], _y_up(world)[scored]
    stands = true[1:] & true[:-1]
    both = loose[scored], locked[scored]
    turn = _best_turn(both[0], truth)
    return Feet(
        told=contacts[scored] > 0.5,
        true=true,
        slides_mm=(_slides_mm(both[0])[stands], _slides_mm(both[1])[stands]),
        jerk=(_jerk(both[0], fps), _jerk(both[1], fps)),
        mpjpe_mm=(_mpjpe_mm(both[0], truth, turn), _mpjpe_mm(both[1], truth, turn)),
    )


def _place_clip(lifted: Lifted, sequence: Sequence, mode: FootLock) -> tuple[Floats, Floats]:
    motion = motion_of(lifted, sequence, WorldOptions(foot_lock=mode))
    return motion.poses, motion.contacts


def _place_live(lifted: Lifted, sequence: Sequence, mode: FootLock) -> tuple[Floats, Floats]:
    state, poses, contacts = LiveState.start(), [], []
    options, errors, told = WorldOptions(foot_lock=mode), lifted.expected_error_m, None
    if lifted.gravity is not None and lifted.gravity_error is not None:
        told = np.column_stack([lifted.gravity, lifted.gravity_error])
    for row in range(len(lifted.joints)):
        now = slice(row, row + 1)
        part = replace(sequence, keypoints=sequence.keypoints[now], times_s=sequence.times_s[now])
        error_m = None if errors is None else errors[now]
        known = None if told is None else told[now]
        state, motion = advance(state, lifted.joints[now], error_m, part, options, known)
        poses.append(motion.poses)
        contacts.append(motion.contacts)
    return np.concatenate(poses), np.concatenate(contacts)


def _y_up(world: Floats) -> Floats:
    return np.stack([world[..., 0], world[..., 2], -world[..., 1]], axis=-1)


def _slides_mm(poses: Floats) -> Floats:
    return np.asarray(1000 * np.linalg.norm(np.diff(poses[:, _ANKLES], axis=0)[..., ::2], axis=-1))


def _jerk(poses: Floats, fps: float) -> float:
    return float(np.linalg.norm(np.diff(poses, 3, axis=0), axis=-1).mean() * fps**3)


def _level(poses: Floats) -> NDArray[np.complex128]:
    """Ways along the ground from the pelvis, as complex numbers."""
    about = poses - poses[:, :1]
    return np.asarray(about[..., 0] + 1j * about[..., 2])


def _best_turn(poses: Floats, truth: Floats) -> complex:
    """About the vertical: where somebody faces at the start is no error."""
    turn = complex(np.vdot(_level(poses).ravel(), _level(truth).ravel()))
    return turn / abs(turn)


def _mpjpe_mm(poses: Floats, truth: Floats, turn: complex) -> float:
    level = np.abs(_level(poses) * turn - _level(truth))
    up, true_up = (each[..., 1] - each[:, :1, 1] for each in (poses, truth))
    return float(1000 * np.hypot(level, up - true_up).mean())


def feet_columns(scores: Iterable[Feet]) -> str:
    """F1; slides before and after, median and 90 %; jerk and MPJPE before and after, and their change."""
    scores = list(scores)
    told, true = (np.concatenate(each) for each in zip(*((score.told, score.true) for score in scores), strict=True))
    f1 = 2 * (told & true).sum() / max(told.sum() + true.sum(), 1)
    loose, locked = (np.concatenate([score.slides_mm[which] for score in scores]) for which in (0, 1))
    slides = f"{_spread(loose)} -> {_spread(locked)}"
    jerk, error = (np.mean([getattr(score, name) for score in scores], axis=0) for name in ("jerk", "mpjpe_mm"))
    return f"{f1:.3f}  {slides:28s}  {_change(jerk, 0):22s}  {_change(error, 1)}"


def _spread(values: Floats) -> str:
    return f"{np.median(values):.2f} ({np.quantile(values, 0.9):.1f})"


def _change(pair: Floats, decimals: int) -> str:
    before, after = pair.tolist()
    return f"{before:.{decimals}f} -> {after:.{decimals}f} ({100 * (after / before - 1):+.1f} %)"
