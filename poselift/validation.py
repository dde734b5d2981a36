"""The first fault that pydantic found in a document, for an error message of one sentence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class Finding(NamedTuple):
    """One fault in a document.

    Attributes:
        kind: pydantic's name of the fault, such as `missing`.
        location: keys and indices that lead to the value at fault; empty for the whole document.
        message: description of the fault, without a full stop.
        value: the value at fault.
    """

    kind: str
    location: tuple[int | str, ...]
    message: str
    value: Any

    @property
    def path(self) -> str:
        """The location as in `keypoints[3][5][0]`."""
        return path_of(self.location)


def first_finding(error: "ValidationError") -> Finding:
    """The first fault of a document, in the order of its schema's fields."""
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return Finding(first["type"], first["loc"], message, first["input"])


def path_of(location: Sequence[int | str]) -> str:
    """Keys and indices as in `keypoints[3][5][0]`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
