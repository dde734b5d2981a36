"""Choose one of several people, by name or by how they were seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import UnknownPerson

ALL = "all"
CHOICES = {
    ALL: "everybody",
    "largest": "the person whose bounding boxes, added up over all frames, cover most of the picture",
    "longest": "the person who is seen in most frames",
    "first": "the person who is seen first",
}
"""What may be asked for in place of a name; among equals, the first in the order of the input is chosen."""

_MOST_NAMES = 10


class Presence(NamedTuple):
    """How a person was seen.

    Attributes:
        frames: in how many frames, with any joint.
        area: of the bounding boxes, added up over the frames.
        first_frame: index of the first frame with the person; that of the end if there is none.
    """

    frames: int
    area: float
    first_frame: int


def presence_of(keypoints: NDArray[np.floating]) -> Presence:
    """Measure how a person was seen.

    Args:
        keypoints: [F, J, 2 or 3], x and y NaN where a joint is missing.
    """
    positions = keypoints[..., :2]
    sides = np.fmax.reduce(positions, axis=1) - np.fmin.reduce(positions, axis=1)
    seen = ~np.isnan(sides).any(axis=-1)
    first_frame = int(seen.argmax()) if seen.any() else len(keypoints)
    return Presence(int(seen.sum()), float(sides[seen].astype(np.float64).prod(axis=-1).sum()), first_frame)


def choose(choice: str, names: Sequence[str], presences: Sequence[Presence]) -> list[int]:
    """Choose people.

    Args:
        choice: one of `CHOICES`, or a name.
        names: of the people.
        presences: of the people, in the same order.
    Returns:
        Indices of the people who are chosen.
    Raises:
        UnknownPerson: nobody has this name.
    """
    people = range(len(names))
    match choice:
        case "all":
            return list(people)
        case "largest":
            return [max(people, key=lambda person: presences[person].area)]
        case "longest":
            return [max(people, key=lambda person: presences[person].frames)]
        case "first":
            return [min(people, key=lambda person: presences[person].first_frame)]
    if choice in names:
        return [names.index(choice)]
    listed = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        listed += f" and {len(names) - _MOST_NAMES} more"
    raise UnknownPerson(
        f"There is no person {choice!r:.140}; there are {listed}, and {', '.join(CHOICES)} choose by how people were "
        "seen.",
        path="person_choice",
    )
