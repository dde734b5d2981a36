"""What is likely wrong with an input that can be lifted all the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class InputWarning:
    """One thing that is likely not what its sender meant.

    Attributes:
        code: one of `WARNINGS`, stable.
        message: one sentence that says what was found and what to do about it.
        path: the field that it is about, as in `tracks[1].keypoints`, or None if it is about no single field.
    """

    code: str
    message: str
    path: str | None = None

    def __post_init__(self) -> None:
        assert self.code in WARNINGS, self.code


WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "frame_step": "Frames are numbered in equal steps, such as every fifth; they were taken as consecutive ones.",
        "unused_array": "The file holds an array that could be meant and was not read.",
        "skeleton_guessed": "The file does not name its skeleton; the number of joints chose it.",
        "people_followed": "Several people have no identities; they were told apart by where they are.",
        "identities_ignored": "The identities of a file do not tell the people of a frame apart.",
        "person_left_out": "Somebody is seen in a few frames only, and was left out.",
        "duplicate_people": "The same detection is there more than once in a frame.",
    }
)
"""Every code and its description."""
