"""Group the detections of a file by person: one row of detections per person, one entry per frame."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Detection


class Person(NamedTuple):
    """One person in one frame; `identity` comes from a tracker, and is None without one."""

    identity: str | None
    detection: Detection


People = list[tuple[str | None, list[Detection | None]]]


def follow_people(frames: Sequence[Sequence[Person]]) -> People:
    """Collect each person's detections, one per frame, None in a frame without the person.

    Identities are used as they are. Without them there must be at most one person per frame, or the same number of
    people in the same order in every frame that has any: Poselift lifts people, it does not track them.

    Raises:
        InvalidFile: the file has no people, or frames without identities cannot be matched.
    """
    everybody = [person for people in frames for person in people]
    if not everybody:
        raise InvalidFile("there is nobody in it.")
    if all(person.identity is not None for person in everybody):
        return _by_identity(frames)
    most = max(len(people) for people in frames)
    if most == 1:
        return [(None, [people[0].detection if people else None for people in frames])]
    if any(len(people) not in (0, most) for people in frames):
        raise _untracked(next(people for people in frames if len(people) > 1))
    _check_order([people for people in frames if people])
    return [(str(index), [people[index].detection if people else None for people in frames]) for index in range(most)]


def _by_identity(frames: Sequence[Sequence[Person]]) -> People:
    rows: dict[str | None, list[Detection | None]] = {}
    for frame, people in enumerate(frames):
        for identity, detection in people:
            row = rows.setdefault(identity, [None] * len(frames))
            if row[frame] is not None:
                raise InvalidFile(
                    f"person {identity} is there twice in one frame, the second time in {detection.field}."
                )
            row[frame] = detection
    return list(rows.items())


def _check_order(frames: Sequence[Sequence[Person]]) -> None:
    """From frame to frame, each person must be nearer to its own last position than to anybody else's."""
    before = [_centre(person.detection) for person in frames[0]]
    for people in frames[1:]:
        now = [_centre(person.detection) for person in people]
        for index, position in enumerate(now):
            distances = [math.dist(position, other) for other in before]
            if min(distances) < distances[index]:
                raise _untracked(people)
        before = [new if math.isfinite(new[0]) else old for new, old in zip(now, before, strict=True)]


def _centre(detection: Detection) -> tuple[float, float]:
    """The mean position of the joints that were seen; NaN, to which every comparison is false, if none was."""
    rows = detection.joints.tolist() if isinstance(detection.joints, np.ndarray) else detection.joints
    seen = [row for row in rows if row is not None and not any(map(math.isnan, row))]
    if not seen:
        return math.nan, math.nan
    return sum(row[0] for row in seen) / len(seen), sum(row[1] for row in seen) / len(seen)


def _untracked(people: Sequence[Person]) -> InvalidFile:
    return InvalidFile(
        f"there are {len(people)} people at {people[0].detection.field} and nothing tells who is who over time; "
        "have a tracker give them identities, or keep one person.",
        path=people[0].detection.field,
    )
