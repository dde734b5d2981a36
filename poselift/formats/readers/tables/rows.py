"""From rows of detections, in any order, to a recording."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.archive import MAX_NUMBERS
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.detection import Detection, to_joints
from poselift.formats.readers.frame_files import last_number
from poselift.formats.readers.joint_counts import skeleton_of_numbers
from poselift.formats.readers.joint_names import skeleton_of
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording
from poselift.formats.readers.tables.columns import frame_column, joint_numbers, time_column, track_column
from poselift.formats.readers.tables.table import Table


@dataclass(frozen=True)
class Rows:
    """Detections, one person in one frame each.

    Attributes:
        keypoints: [R, J, 3]; NaN where a joint is missing.
        joints: names or numbers of the J joints.
        frames: number of each row's frame.
        identities: of each row's person; None if the table does not tell people apart.
        times_s: of each row; None if the table has none.
    """

    keypoints: NDArray[np.float64]
    joints: Sequence[str]
    frames: Sequence[int]
    identities: Sequence[str] | None = None
    times_s: Sequence[float] | None = None

    def recording(self) -> Recording:
        """The recording of these rows, in the skeleton that the joints' names or numbers tell.

        Raises:
            InvalidFile: the joints are of no skeleton, or a person is there twice in one frame.
        """
        skeleton, keypoints = self._arranged()
        joints = to_joints(keypoints, "row")
        is_present = np.asarray((~np.isnan(joints[..., 0])).any(axis=1))
        found: dict[int, list[Person]] = {}
        for row, frame in enumerate(self.frames):
            people = found.setdefault(frame, [])
            if is_present[row]:
                identity = self.identities[row] if self.identities else None
                people.append(Person(identity or None, Detection(f"frame[{frame}]", joints[row])))
        recording = recording_of(found, skeleton=skeleton, by_count=skeleton_of_numbers)
        assert isinstance(recording.people, PeopleByFrame)
        return replace(recording, timestamps_s=self._times_of(len(recording.people.frames), found))

    def _arranged(self) -> tuple[str | None, NDArray[np.float64]]:
        """The skeleton that the names of joints tell, None if they are numbered; and the keypoints in order."""
        numbers = joint_numbers(self.joints)
        if numbers is not None:
            return None, self.keypoints[:, np.argsort(numbers)]
        skeleton, places = skeleton_of(self.joints)
        keypoints = np.full((len(self.keypoints), skeleton.n_joints, 3), (math.nan, math.nan, 0.0))
        for joint, place in enumerate(places):
            if place is not None:
                keypoints[:, joint] = self.keypoints[:, place]
        return skeleton.name, keypoints

    def _times_of(self, count: int, found: dict[int, list[Person]]) -> list[float] | None:
        """The times of `count` frames; those of missing frames lie between."""
        if self.times_s is None or np.isnan(self.times_s).any():
            return None
        times = dict(zip(self.frames, self.times_s, strict=True))
        numbers = sorted(found)
        wanted = np.linspace(numbers[0], numbers[-1], count)
        found_times: list[float] = np.interp(wanted, numbers, [times[number] for number in numbers]).tolist()
        return found_times


def blank(*shape: int) -> NDArray[np.float64]:
    """Keypoints [*shape, 3] to fill in: NaN, with score 1.

    Raises:
        InvalidFile: there would be too many, of a table whose every row is of another person or joint.
    """
    if math.prod(shape) * 3 > MAX_NUMBERS:
        raise InvalidFile(f"it has so many rows, people and joints that they make more than {MAX_NUMBERS} numbers.")
    keypoints = np.full((*shape, 3), math.nan)
    keypoints[..., 2] = 1.0
    return keypoints


def rows_of(table: Table, keypoints: NDArray[np.float64], joints: Sequence[str]) -> Rows:
    """The rows of a table with a row per person and frame, with what stands in its other columns."""
    names = table.header[-1]
    track, time = track_column(names), time_column(names)
    return Rows(
        keypoints,
        joints,
        frames_of(table, frame_column(names), track),
        None if track is None else table.column(track),
        None if time is None else (table.numbers[:, time[0]] * time[1]).tolist(),
    )


def frames_of(table: Table, column: int | None, track: int | None) -> list[int]:
    """The number of each row's frame; without a column, rows count it, those of each person from 0.

    Raises:
        InvalidFile: a cell has no number.
    """
    if column is None:
        counted: dict[str, int] = {}
        numbers = []
        for identity in [""] * len(table.numbers) if track is None else table.column(track):
            numbers.append(counted.get(identity, 0))
            counted[identity] = numbers[-1] + 1
        return numbers
    return [_frame_number(cell, row) for row, cell in enumerate(table.column(column))]


def _frame_number(cell: str, row: int) -> int:
    """A whole number, or the last one in the name of a picture."""
    number = last_number(cell.removesuffix(".0"))
    if number is None:
        raise InvalidFile(f"row {row + 1} has no frame number: {cell!r:.40}.")
    return number
