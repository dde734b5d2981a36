"""From the people of each frame to the frames of each person: by identity, or by where they are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording
from poselift.input_warnings import InputWarning
from poselift.person_choice import ALL, Presence, choose, presence_of
from poselift.tracking import follow, keep_order

# A person whom a detector made up, or a passer-by: seen in no more frames, and no larger share of the longest track.
_MAX_GHOST_FRAMES = 10
_MAX_GHOST_SHARE = 0.1
# Where people are followed with success, they are seen in many more frames than this.
_MIN_FRAMES_PER_PERSON = 4
# Every person gets a pose for every frame; beyond this, gigabytes of them.
_MAX_POSES = 5_000_000
_MOST_LISTED = 5

Seen = dict[int, Detection]
"""The detections of one person by index of the frame."""


class _Followed(NamedTuple):
    """People with their names; `named` if the names are those of the file."""

    people: dict[str, Seen]
    named: bool
    warnings: list[InputWarning]


def follow_people(recording: Recording, *, track: bool = False, choice: str | None = None) -> Recording:
    """Collect the detections of the people who are chosen, person by person.

    Identities of the file are used where they tell the people of a frame apart. Otherwise people are followed by where
    they are, and named by number; those who are seen in a few frames only are left out. People who were listed person
    by person already are only chosen from.

    Args:
        track: follow people by where they are in any case.
        choice: as `poselift.person_choice.choose` takes it; None for that of the file, or everybody.
    Raises:
        InvalidFile: the file has no people, or they cannot be followed.
        UnknownPerson: the one who is chosen is not there.
    """
    choice = choice or recording.person_choice or ALL
    if not isinstance(recording.people, PeopleByFrame):
        return _chosen(recording, choice)
    frames = recording.people.frames
    followed = _follow(frames, track=track, choice=choice)
    names = list(followed.people)
    chosen = [names[index] for index in choose(choice, names, _presences(followed.people, choice))]
    if choice == ALL and not followed.named:
        chosen = _without_ghosts(followed)
    if len(chosen) * len(frames) > _MAX_POSES:
        raise InvalidFile(
            f"{len(chosen)} people in {len(frames)} frames are more than {_MAX_POSES} poses; cut the file, or choose "
            "one of them (--person)."
        )
    is_single = not followed.named and len(chosen) == 1
    people = [
        (None if is_single else name, [followed.people[name].get(frame) for frame in range(len(frames))])
        for name in chosen
    ]
    return replace(recording, people=people, warnings=(*recording.warnings, *followed.warnings))


def _chosen(recording: Recording, choice: str) -> Recording:
    """Choose from people who are listed person by person; one without an identity is person 0."""
    assert not isinstance(recording.people, PeopleByFrame)
    if choice == ALL:
        return recording
    rows = {
        "0" if identity is None else identity: {
            frame: detection for frame, detection in enumerate(row) if detection is not None
        }
        for identity, row in recording.people
    }
    indices = choose(choice, list(rows), _presences(rows, choice))
    return replace(recording, people=[recording.people[index] for index in indices])


def _follow(frames: Sequence[Sequence[Person]], *, track: bool, choice: str) -> _Followed:
    frames, warnings = _without_duplicates(frames)
    if not any(frames):
        raise InvalidFile("there is nobody in it.")
    if not track and _are_told_apart(frames, warnings):
        names = [[str(person.identity) for person in people] for people in frames]
        return _Followed(_by_name(frames, names), True, warnings)
    most = max(len(people) for people in frames)
    if most == 1 and not track:
        return _Followed(_by_name(frames, [["0"] * len(people) for people in frames]), False, warnings)
    positions = _positions(frames)
    is_steady = not track and _are_in_steady_order(positions, most)
    numbers = [list(range(len(here))) for here in frames] if is_steady else follow(positions)
    people = _by_name(frames, [[str(number) for number in here] for here in numbers])
    if not is_steady and not track:
        _check_followed(people, frames, most, choice)
    if not is_steady and not track and choice == ALL:
        first = next(people for people in frames if len(people) > 1)[0].detection.field
        warnings.append(
            InputWarning(
                "people_followed",
                f"up to {most} people are in a frame, from {first} on, without identities; they were followed by where "
                f"they are, which makes {len(people)}. If that is right, say so (--track), or keep one (--person).",
                path=first,
            )
        )
    return _Followed(people, False, warnings)


def _are_in_steady_order(positions: Sequence[NDArray[np.float64]], most: int) -> bool:
    """Whether as many people are in every frame that has any, each nearest to its own last position."""
    frames = [people for people in positions if len(people)]
    return all(len(people) == most for people in frames) and keep_order(np.stack(frames))


def _check_followed(people: dict[str, Seen], frames: Sequence[Sequence[Person]], most: int, choice: str) -> None:
    """Refuse people who are somewhere else in every other frame."""
    detections = sum(len(here) for here in frames)
    if choice == ALL and len(people) > most and detections < _MIN_FRAMES_PER_PERSON * len(people):
        field = next(here for here in frames if len(here) > 1)[0].detection.field
        raise InvalidFile(
            f"there are {most} people in a frame, as at {field}, and nothing tells who is who over time: they move too "
            "far from frame to frame. Have a tracker give them identities, follow them all the same (--track), or keep "
            "one person (--person longest).",
            path=field,
        )


def _by_name(frames: Sequence[Sequence[Person]], names: Sequence[Sequence[str]]) -> dict[str, Seen]:
    people: dict[str, Seen] = {}
    for frame, (here, their_names) in enumerate(zip(frames, names, strict=True)):
        for person, name in zip(here, their_names, strict=True):
            people.setdefault(name, {})[frame] = person.detection
    return people


def _without_duplicates(frames: Sequence[Sequence[Person]]) -> tuple[Sequence[Sequence[Person]], list[InputWarning]]:
    """Drop what is there a second time in a frame, as in results that were written twice to the same file."""
    distinct: list[list[Person]] = []
    duplicate = None
    for people in frames:
        kept: list[Person] = []
        for person in people:
            if any(_is_same(person.detection.joints, other.detection.joints) for other in kept):
                duplicate = duplicate or person
            else:
                kept.append(person)
        distinct.append(kept)
    if duplicate is None:
        return frames, []
    field, dropped = duplicate.detection.field, sum(map(len, frames)) - sum(map(len, distinct))
    message = f"{dropped} detections are there twice in their frame, such as {field}; they were read once."
    return distinct, [InputWarning("duplicate_people", message, path=field)]


def _is_same(joints: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    """Whether two detections are equal, and of anybody at all."""
    return np.array_equal(joints, others, equal_nan=True) and not np.isnan(joints[:, 0]).all()


def _are_told_apart(frames: Sequence[Sequence[Person]], warnings: list[InputWarning]) -> bool:
    """Whether everybody has an identity and nobody in a frame shares one; a warning if only some of them do."""
    identities = {person.identity for people in frames for person in people}
    for people in frames:
        here = [person.identity for person in people]
        if None in here or len(set(here)) < len(here):
            field = people[-1].detection.field
            if len(identities) > 1:
                message = f"the identities do not tell people apart at {field}, and are not used."
                warnings.append(InputWarning("identities_ignored", message, path=field))
            return False
    return True


def _without_ghosts(followed: _Followed) -> list[str]:
    """The people who are not left out, with a warning about the others."""
    longest = max(len(seen) for seen in followed.people.values())
    most = min(_MAX_GHOST_FRAMES, int(_MAX_GHOST_SHARE * longest))
    ghosts = {name: seen for name, seen in followed.people.items() if len(seen) <= most}
    if ghosts:
        found = [
            f"person {name} ({len(seen)} frames from {next(iter(seen.values())).field} on)"
            for name, seen in list(ghosts.items())[:_MOST_LISTED]
        ]
        more = f" and {len(ghosts) - _MOST_LISTED} more" if len(ghosts) > _MOST_LISTED else ""
        followed.warnings.append(
            InputWarning(
                "person_left_out",
                f"{', '.join(found)}{more} left out: seen in {most} frames or fewer. --person {next(iter(ghosts))} "
                "lifts one of them.",
                path=next(iter(next(iter(ghosts.values())).values())).field,
            )
        )
    return [name for name in followed.people if name not in ghosts]


def _presences(people: dict[str, Seen], choice: str) -> list[Presence]:
    """How each person was seen; not measured where nobody asks for it."""
    if choice == ALL:
        return []
    presences = []
    for seen in people.values():
        frames, positions = list(seen), _positions([[Person(None, detection)] for detection in seen.values()])
        presence = presence_of(np.concatenate(positions)) if positions else Presence(0, 0.0, 0)
        first = frames[presence.first_frame] if presence.first_frame < len(frames) else 2**63
        presences.append(presence._replace(first_frame=first))
    return presences


def _positions(frames: Sequence[Sequence[Person]]) -> list[NDArray[np.float64]]:
    """The positions [P, J, 2] of the people of each frame, NaN where missing; for J the largest of all frames."""
    most = max((len(person.detection.joints) for here in frames for person in here), default=0)
    positions = []
    for here in frames:
        array = np.full((len(here), most, 2), np.nan)
        for index, person in enumerate(here):
            array[index, : len(person.detection.joints)] = person.detection.joints[:, :2]
        positions.append(array)
    return positions
