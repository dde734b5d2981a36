"""Who is who: the people that a detector found in each frame, as one row of detections per person."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Detection


class Person(NamedTuple):
    """Somebody in one frame; `identity` is a tracker's, None where nothing tracked."""

    identity: str | None
    detection: Detection


People = list[tuple[str | None, list[Detection | None]]]


def follow_people(frames: Sequence[Sequence[Person]]) -> People:
    """Put the detections of each person in a row, one per frame, None where the person was not seen.

    Identities are taken as they are. Without them there must be at most one person per frame, or the same number of
    people in the same order in every frame that has any: Poselift lifts people, it does not track them.

    Raises:
        InvalidFile: nobody is in the file, or it cannot be told who is who.
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
    return [(str(place), [people[place].detection if people else None for people in frames]) for place in range(most)]


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
    """From frame to frame, each person must be nearer to where it was than to where anybody else was."""
    before = [_middle(person.detection) for person in frames[0]]
    for people in frames[1:]:
        now = [_middle(person.detection) for person in people]
        for place, position in enumerate(now):
            distances = [math.dist(position, other) for other in before]
            if min(distances) < distances[place]:
                raise _untracked(people)
        before = [new if math.isfinite(new[0]) else old for new, old in zip(now, before, strict=True)]


def _middle(detection: Detection) -> tuple[float, float]:
    """The mean position of the joints that were seen; NaN, which no distance is below, where none was."""
    seen = [row for row in detection.joints if row is not None]
    if not seen:
        return math.nan, math.nan
    return sum(row[0] for row in seen) / len(seen), sum(row[1] for row in seen) / len(seen)


def _untracked(people: Sequence[Person]) -> InvalidFile:
    return InvalidFile(
        f"there are {len(people)} people at {people[0].detection.field} and nothing tells who is who over time; "
        "have a tracker give them identities, or keep one person.",
        path=people[0].detection.field,
    )
