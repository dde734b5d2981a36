"""Validation of JSON documents, and refusals that name the first field at fault."""

from collections.abc import Sequence as Items
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from poselift.skeletons import Skeleton
from poselift.validation import first_finding, path_of
from poselift_service.errors import InvalidRequest

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
            return InvalidRequest(f"The value of {path} cannot be used: {found.message}.", path=path)


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
            raise InvalidRequest(
                f"A frame of {source.name} has {source.n_joints} joints, not {len(frame)}.", path=f"{path}[{number}]"
            )
