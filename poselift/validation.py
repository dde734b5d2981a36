"""The first fault that pydantic found in a document, for an error message of one sentence, in our own words."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class Finding(NamedTuple):
    """One fault in a document.

    Attributes:
        kind: pydantic's name of the fault, such as `missing`.
        location: keys and indices that lead to the value at fault; empty for the whole document.
        message: what the value must be, or what is wrong with the document: a clause without a full stop.
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
    first = error.errors(include_url=False)[0]
    return Finding(
        first["type"], first["loc"], _message(first["type"], first.get("ctx", {}), first["msg"]), first["input"]
    )


# What to say of each kind of fault; the names in braces are pydantic's.
_MESSAGES = {
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a whole number of fewer digits",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "greater_than": "it must be greater than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "string_type": "it must be a text",
    "string_unicode": "it must be a text",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must match {pattern}",
    "bytes_type": "it must be a text",
    "list_type": "it must be an array",
    "tuple_type": "it must be an array",
    "set_type": "it must be an array",
    "dict_type": "it must be an object",
    "mapping_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "dataclass_type": "it must be an object",
    "dataclass_exact_type": "it must be an object",
    "too_short": "it must have at least {min_length} entries, not {actual_length}",
    "too_long": "it must have at most {max_length} entries",
    "literal_error": "it must be {expected}",
    "enum": "it must be {expected}",
    "union_tag_invalid": "it must be one of {expected_tags}",
    "union_tag_not_found": "it must be given",
    "none_required": "it must be null",
    "missing": "it is missing",
    "missing_argument": "it is missing",
    "extra_forbidden": "it is not known here",
    "unexpected_keyword_argument": "it is not known here",
}
_PLACE = re.compile(r"line (\d+),? column (\d+)")


def _message(kind: str, context: Mapping[str, Any], said: str) -> str:
    """A fault in our own words; pydantic's are kept for kinds that none of our schemas can have."""
    if kind in ("value_error", "assertion_error"):  # raised by a check of our own
        return str(context.get("error", said)).rstrip(".")
    if kind == "json_invalid":
        place = _PLACE.search(str(context.get("error", said)))
        return f"it is not JSON from line {place[1]}, column {place[2]} on" if place else "it is not JSON"
    if kind == "too_short" and context.get("min_length") == 1:
        return "it must not be empty"
    template = _MESSAGES.get(kind)
    values = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
    return said.rstrip(".") if template is None else template.format_map(values)


def path_of(location: Sequence[int | str]) -> str:
    """Keys and indices as in `keypoints[3][5][0]`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
