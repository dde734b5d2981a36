"""Validation of JSON documents, and refusals that name the first field at fault."""

from collections.abc import Sequence as Items
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from poselift.skeletons import SKELETONS, Skeleton
from poselift.validation import first_finding, path_of
from poselift_service.errors import InvalidRequest

# How a joint is written, by the field that it is in.
_JOINTS = {"keypoints": "[x, y, score], [x, y]", "poses": "[x, y, z]"}

_MOST_KEYS, _MOST_CHARACTERS, _HUGE = 6, 40, 10**18

Form = TypeVar("Form", bound=BaseModel)


def validate(schema: type[Form], document: bytes) -> Form:
    """Parse a document and validate it against a schema.

    Raises:
        InvalidRequest: it does not match the schema; the path names the first field at fault.
    """
    try:
        return schema.model_validate_json(document)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError, *, path: str = "", first: int = 0) -> InvalidRequest:
    """The first finding of pydantic as one sentence, with the path of the field.

    Args:
        path: of the array that was validated, when that was elements of an array and not a whole document.
        first: index in that array of the first element that was validated.
    """
    found = first_finding(error)
    location = found.location
    if path and location and isinstance(location[0], int):
        location = (path, location[0] + first, *location[1:])
    elif path:
        location = (path, *location)
    path = path_of(location)
    if in_frames := _about_frames(location, found.value):
        return InvalidRequest(f"The value of {path} cannot be used: {in_frames}.", path=path)
    match found.kind:
        case "json_invalid":
            return InvalidRequest(f"The body cannot be read: {found.message}.")
        case "model_type":
            return InvalidRequest(f"{path or 'The body'} must be a JSON object.", path=path or None)
        case "missing":
            return InvalidRequest(f"The field {path} is missing.", path=path)
        case "extra_forbidden":
            return InvalidRequest(f"There is no field {path} in a request.", path=path)
        case _:
            came = f", not {describe(found.value)}" if found.message.startswith("it must be ") else ""
            return InvalidRequest(f"The value of {path} cannot be used: {found.message}{came}.", path=path)


def _about_frames(location: tuple[int | str, ...], value: Any) -> str | None:
    """What is said about a value in the place of a frame or of a joint; None in other places."""
    depth = next((depth for depth, step in enumerate(reversed(location)) if isinstance(step, str)), 0)
    field = str(location[-1 - depth]).rpartition(".")[2] if location else ""
    if field not in _JOINTS or depth not in (1, 2):
        return None
    if depth == 1:
        return f"a frame is a list of joints or null, not {describe(value)}"
    flat = "; a flat list of numbers must be parted by joint" if isinstance(value, int | float) else ""
    return f"a joint is {_JOINTS[field]} or null, not {describe(value)}{flat}"


def describe(value: Any) -> str:
    """What a value of a document is, in a few words."""
    match value:
        case None | bool():
            return str(value).lower().replace("none", "null")
        case int() if abs(value) >= _HUGE:
            return "a number of many digits"
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else f"{value}"
        case str():
            return repr(value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}...")
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return _described_object(list(value))
    return "something else"


def _described_object(keys: Items[str]) -> str:
    if not keys:
        return "an empty object"
    if len(keys) > _MOST_KEYS:
        keys = [*keys[:_MOST_KEYS], "others"]
    listed = " and ".join([", ".join(keys[:-1]), keys[-1]] if len(keys) > 1 else keys)
    return f"an object with {listed:.120}"


def is_syntax_error(error: ValidationError) -> bool:
    """Whether the document is no JSON at all."""
    return first_finding(error).kind == "json_invalid"


def check_joint_counts(frames: Items[Items[object] | None], source: Skeleton, path: str, *, first: int = 0) -> None:
    """Refuse frames with another number of joints than their skeleton has.

    Args:
        path: of the array they are in.
        first: index of the first of them in that array.
    Raises:
        InvalidRequest: the path names the first such frame.
    """
    for number, frame in enumerate(frames, start=first):
        if frame is not None and len(frame) != source.n_joints:
            others = [other.name for other in SKELETONS.values() if other.n_joints == len(frame)]
            hint = f", as one of {' or '.join(others)} has" if others else ""
            raise InvalidRequest(
                f"A frame of {source.name} has {source.n_joints} joints, not {len(frame)}{hint}.",
                path=f"{path}[{number}]",
            )
