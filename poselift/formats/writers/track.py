"""What is written of each person: poses, their times, and the axes of the positions."""

from collections.abc import Sequence as Items
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted
from poselift.motion.world import WorldMotion
from poselift.sequence import Sequence, constant_rate_hz

AXES = "camera: x right, y down, z forward; relative to the pelvis"
AXES_AS_GIVEN = "camera: x right, y down, z forward; from the origin of the poses that came"


class LiftedTrack(NamedTuple):
    """The poses of one person.

    `track_id` is None for the only person of a recording without identities; `first_frame` is the number that the first
    pose's frame has in the recording; `times_s` [F] are seconds from the first pose on, None in answers of the server,
    whose callers know them. `world` is the motion in the world, None if nobody asked for it;
    `sequence` the keypoints, where they are written beside the poses.
    """

    track_id: str | None
    lifted: Lifted
    first_frame: int = 0
    times_s: NDArray[np.float64] | None = None
    world: WorldMotion | None = None
    sequence: Sequence | None = None


def axes(task: Task) -> str:
    """The axes of an answer, and what its positions are relative to, in words."""
    return AXES if task is Task.LIFT else AXES_AS_GIVEN


def times_of(track: LiftedTrack) -> NDArray[np.float64]:
    """The times [F] of a track that is written to a file, seconds."""
    assert track.times_s is not None, "a file says when its poses were"
    return track.times_s


def world_of(track: LiftedTrack) -> WorldMotion:
    """The motion of a track in the world.

    Raises:
        InvalidFile: it has none.
    """
    if track.world is None:
        raise InvalidFile("This form holds motion in the world, which nobody has asked for; ask for it (--world).")
    return track.world


class Timing(NamedTuple):
    """How a document says when poses were: by a frame rate, or by times where they are uneven."""

    fps: float | None
    timestamps_s: tuple[float, ...] | None


def timing(track: LiftedTrack) -> Timing | None:
    """How to say when the poses of a track were; None if the caller knows."""
    if track.times_s is None:
        return None
    fps = constant_rate_hz(track.times_s)
    return Timing(fps, None if fps else tuple(track.times_s.tolist()))


def common_timing(tracks: Items[LiftedTrack]) -> Timing | None:
    """The timing of all tracks, or None if it is not the same for each."""
    timings = {timing(track) for track in tracks}
    return timings.pop() if len(timings) == 1 else None
