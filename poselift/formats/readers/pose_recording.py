"""The result of every pose reader: the 3D poses in a file before any array is made of them."""

from collections.abc import Sequence as Frames
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidPoses
from poselift.formats.readers.recording import check_known, times_of
from poselift.sequence import MAX_POSITION_M, PoseSequence
from poselift.skeletons import skeleton


class PoseFrames(NamedTuple):
    """One person's frames: rows `[x, y, z]` in metres, or None, per joint; None for a frame without the person.

    Attributes:
        field: name of the field they were read from.
        first_frame: number of the first of them in a recording.
        fps, timestamps_s: as in `PoseRecording`, of a person who has their own.
    """

    track_id: str | None
    field: str
    frames: Frames[Any]
    first_frame: int = 0
    fps: float | None = None
    timestamps_s: Frames[float] | None = None


class PoseTrack(NamedTuple):
    """One person of a recording.

    `track_id` is None if the file holds one person without an identity; `first_frame` is the number that the file gives
    the sequence's first frame.
    """

    track_id: str | None
    sequence: PoseSequence
    first_frame: int = 0


@dataclass(frozen=True)
class PoseRecording:
    """The content of a file; fields that the file leaves to the caller are None.

    Attributes:
        fps: frame rate in Hz, of people without their own.
        timestamps_s: one per frame, instead of a frame rate.
    """

    people: Frames[PoseFrames]
    skeleton: str | None
    fps: float | None
    timestamps_s: Frames[float] | None

    def overridden(self, skeleton: str | None, fps: float | None) -> "PoseRecording":
        """The same recording with what the caller gives in place of what the file says."""
        given = replace(self, skeleton=skeleton or self.skeleton)
        if fps is None:
            return given
        people = [person._replace(fps=None, timestamps_s=None) for person in self.people]
        return replace(given, people=people, fps=fps, timestamps_s=None)

    def tracks(self) -> list[PoseTrack]:
        """Make a sequence of each person's poses.

        Raises:
            InvalidFile: the skeleton or the frame rate is unknown.
            UnknownSkeleton, InvalidPoses, InvalidKeypoints: see `PoseSequence`.
        """
        timings = [self._timing(person) for person in self.people]
        known = all(fps is not None or timestamps_s is not None for fps, timestamps_s in timings)
        check_known(skeleton=self.skeleton, fps=known or None)
        assert self.skeleton is not None
        source = skeleton(self.skeleton)
        tracks = []
        for person, timing in zip(self.people, timings, strict=True):
            joints = _joints(person, source.n_joints)
            sequence = PoseSequence(joints, source, times_of(len(joints), *timing))
            tracks.append(PoseTrack(person.track_id, sequence, person.first_frame))
        return tracks

    def _timing(self, person: PoseFrames) -> tuple[float | None, Frames[float] | None]:
        """A person's frame rate and times, one of them None; those of the recording if the person has none."""
        if person.fps is None and person.timestamps_s is None:
            return self.fps, self.timestamps_s
        return person.fps, person.timestamps_s


def _joints(person: PoseFrames, n_joints: int) -> NDArray[np.float64]:
    """Positions [F, J, 3] of one person's joints; NaN where a joint or the person is missing."""
    joints = np.full((len(person.frames), n_joints, 3), np.nan)
    for frame, rows in enumerate(person.frames):
        if rows is None:
            continue
        field = f"{person.field}[{frame}]"
        if not isinstance(rows, list) or len(rows) != n_joints:
            found = f"{len(rows)}" if isinstance(rows, list) else f"{rows!r:.40}"
            raise InvalidPoses(f"{field} must hold {n_joints} joints, not {found}.", path=field)
        for joint, row in enumerate(rows):
            if row is not None:
                joints[frame, joint] = _position(row, f"{field}[{joint}]")
    return joints


def _position(row: Any, field: str) -> tuple[float, float, float]:
    if not isinstance(row, list) or len(row) != 3:
        raise InvalidPoses(f"{field} must be [x, y, z] or null, not {row!r:.60}.", path=field)
    x, y, z = (_metres(value, f"{field}[{axis}]") for axis, value in enumerate(row))
    return x, y, z


def _metres(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_POSITION_M:
        raise InvalidPoses(
            f"{field} must be a number of metres within {MAX_POSITION_M:g}, not {value!r:.40}.", path=field
        )
    return float(value)
