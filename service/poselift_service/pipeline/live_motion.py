"""From the poses of a session to motion in the world, continued from a state that is kept with the session."""

import asyncio
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.coordinates import to_pixels
from poselift.lifting import Lifted
from poselift.motion.live.advance import advance
from poselift.motion.live.state import LiveState
from poselift.motion.world import WorldMotion
from poselift.sequence import Sequence
from poselift.skeletons import convert_positions
from poselift_service.errors import SessionConflict, UnknownSession
from poselift_service.sessions.motion import continued_from
from poselift_service.sessions.session import Session

# Each takes a part of a millisecond once the world has settled; more would delay everything else on the event loop.
_MAX_POSES_ON_LOOP = 8


class Moved(NamedTuple):
    """Motion in the world, None where there are no poses, and its states by frame index."""

    world: WorldMotion | None
    states: dict[int, bytes]


@dataclass(frozen=True)
class Continuation:
    """Where the motion of a session in the world goes on.

    Attributes:
        index: of the first frame that comes after the state.
        state: after the frames before it.
    """

    index: int
    state: LiveState

    @staticmethod
    def of(session: Session, first: int) -> "Continuation":
        """The newest one from which frames from `first` on can be put into the world.

        Raises:
            SessionConflict: there is none among those of this copy, because others have sent frames meanwhile.
            UnknownSession: it is of another version.
        """
        index = continued_from(session, first)
        if index is None:
            raise SessionConflict(session.next_frame_index)
        if index == 0:
            return Continuation(0, LiveState.start())
        try:
            return Continuation(index, LiveState.from_bytes(session.motion[index]))
        except ValueError as error:
            raise UnknownSession from error

    @property
    def next_target(self) -> int:
        """The first frame whose pose has not been put into the world."""
        return self.state.frames

    async def follow(self, session: Session, targets: range, lifted: Lifted, ends: Items[int]) -> Moved:
        """Put poses into the world.

        Args:
            targets: those of the poses, from `next_target` on.
            ends: frame indices, increasing, after which the states are wanted; the last is that after all targets.
        """
        if self.state.settled and len(targets) <= _MAX_POSES_ON_LOOP:
            return _follow(self.state, session, targets, lifted, ends)
        return await asyncio.to_thread(_follow, self.state, session, targets, lifted, ends)


def _follow(state: LiveState, session: Session, targets: range, lifted: Lifted, ends: Items[int]) -> Moved:
    opening, frames = session.opening, session.frames
    assert opening.world is not None
    parts, states, start = [], {}, targets.start
    for end in (*ends[:-1], None):
        stop = targets.stop if end is None else session.window.completed_by(range(end, frames.stop), frames).start
        if start < stop:
            rows = slice(start - targets.start, stop - targets.start)
            errors = None if lifted.expected_error_m is None else lifted.expected_error_m[rows]
            seen = _keypoints(session, range(start, stop))
            told = None
            if lifted.gravity is not None and lifted.gravity_error is not None:
                told = np.column_stack([lifted.gravity[rows], lifted.gravity_error[rows]])
            state, part = advance(state, lifted.joints[rows], errors, seen, opening.world, told)
            parts.append(part)
        start = max(start, stop)
        if ends:
            states[ends[-1] if end is None else end] = state.to_bytes()
    return Moved(_joined(parts), states)


def _keypoints(session: Session, targets: range) -> Sequence:
    """What the frames of targets were lifted from, in the skeleton of the poses. Scores are not kept."""
    frames, manifest, opening = session.frames, session.manifest, session.opening
    rows = slice(targets.start - frames.start, targets.stop - frames.start)
    pixels = _pixels(frames.screen[rows], manifest, opening.width_px, opening.height_px)
    missing = frames.imputed[rows] | np.isnan(pixels).any(axis=-1)
    keypoints = np.concatenate([pixels, np.ones((*missing.shape, 1), np.float32)], axis=-1)
    keypoints[missing] = np.nan, np.nan, 0
    if frames.times_s is not None:
        times_s = frames.times_s[rows]
    else:
        assert opening.fps is not None
        times_s = np.arange(targets.start, targets.stop) / opening.fps
    size_px = opening.width_px, opening.height_px
    camera = replace(opening.camera, distortion=())  # frames are kept without it
    return Sequence(keypoints, manifest.target, *size_px, times_s, camera, opening.person)


def _pixels(screen: NDArray[np.float32], manifest: Manifest, width_px: int, height_px: int) -> NDArray[np.float32]:
    size_px = manifest.screen.width_px or width_px, manifest.screen.height_px or height_px
    joints = screen[:, : manifest.source.n_joints]  # what is known may follow
    return convert_positions(to_pixels(joints, *size_px), manifest.source, manifest.target)


def rows_of(lifted: Lifted, rows: slice) -> Lifted:
    """Some of the poses."""
    return replace(
        lifted,
        joints=lifted.joints[rows],
        imputed=lifted.imputed[rows],
        expected_error_m=None if lifted.expected_error_m is None else lifted.expected_error_m[rows],
        gravity=None if lifted.gravity is None else lifted.gravity[rows],
        gravity_error=None if lifted.gravity_error is None else lifted.gravity_error[rows],
    )


def motion_rows(motion: WorldMotion, rows: slice) -> WorldMotion:
    """Some of the frames of a motion."""
    return replace(
        motion,
        poses=motion.poses[rows],
        root=motion.root[rows],
        contacts=motion.contacts[rows],
        rotations=None if motion.rotations is None else motion.rotations[rows],
        angles=None if motion.angles is None else {name: angle[rows] for name, angle in motion.angles.items()},
    )


def _joined(parts: list[WorldMotion]) -> WorldMotion | None:
    """Motions that follow one another; what they say of the whole is that of the last."""
    if not parts:
        return None
    last = parts[-1]
    rotations = [part.rotations for part in parts if part.rotations is not None]
    angles = [part.angles for part in parts if part.angles is not None]
    return replace(
        last,
        poses=np.concatenate([part.poses for part in parts]),
        root=np.concatenate([part.root for part in parts]),
        contacts=np.concatenate([part.contacts for part in parts]),
        rotations=np.concatenate(rotations) if rotations else None,
        angles={name: np.concatenate([part[name] for part in angles]) for name in angles[0]} if angles else None,
    )
