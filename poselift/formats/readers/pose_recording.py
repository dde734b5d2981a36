"""The result of every pose reader: the 3D poses in a file before any array is made of them."""

from collections.abc import Sequence as Frames
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.completion import MAX_POSITION_M, PoseSequence
from poselift.errors import InvalidPoses
from poselift.formats.readers.recording import check_known, times_of
from poselift.skeletons import skeleton


class PoseFrames(NamedTuple):
    """One person's frames: rows `[x, y, z]` in metres, or None, per joint; None for a frame without the person.

    `field` is the name of the field they were read from.
    """

    track_id: str | None
    field: str
    frames: Frames[Any]


class PoseTrack(NamedTuple):
    """One person of a recording; `track_id` is None if the file holds one person without an identity."""

    track_id: str | None
    sequence: PoseSequence


@dataclass(frozen=True)
class PoseRecording:
    """The content of a file; fields that the file leaves to the caller are None.

    Attributes:
        fps: frame rate in Hz.
        timestamps_s: one per frame, instead of a frame rate.
    """

    people: Frames[PoseFrames]
    skeleton: str | None
    fps: float | None
    timestamps_s: Frames[float] | None

    def overridden(self, skeleton: str | None, fps: float | None) -> "PoseRecording":
        """The same recording with what the caller gives in place of what the file says."""
        return replace(
            self,
            skeleton=skeleton or self.skeleton,
            fps=fps or self.fps,
            timestamps_s=None if fps else self.timestamps_s,
        )

    def tracks(self) -> list[PoseTrack]:
        """Make a sequence of each person's poses.

        Raises:
            InvalidFile: the skeleton or the frame rate is unknown.
            UnknownSkeleton, InvalidPoses, InvalidKeypoints: see `PoseSequence`.
        """
        check_known(skeleton=self.skeleton, fps=self.fps or self.timestamps_s)
        assert self.skeleton is not None
        source = skeleton(self.skeleton)
        tracks = []
        for person in self.people:
            joints = _joints(person, source.n_joints)
            times_s = times_of(len(joints), self.fps, self.timestamps_s)
            tracks.append(PoseTrack(person.track_id, PoseSequence(joints, source, times_s)))
        return tracks


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
