"""Types and fields of request bodies in JSON."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from poselift.camera_fields import CameraFields, PersonFields
from poselift.coordinates import Coordinates
from poselift.person_choice import ALL, CHOICES
from poselift.sequence import MAX_TIMESTAMP_S
from poselift.skeletons import SKELETONS
from poselift_service.pipeline.checks import (
    MAX_FPS,
    MAX_IMAGE_PX,
    MAX_INTEGER,
    MAX_NAME_CHARACTERS,
    MAX_TRACK_ID_CHARACTERS,
    MIN_FPS,
)

_MAX_LOOKAHEAD = 1_000_000


def _finite_or_nan(number: float) -> float:
    if math.isinf(number):
        raise PydanticCustomError("finite_number", "Input should be a finite number")
    return number


def _whole_number(value: Any) -> Any:
    """A whole number that a program wrote like `1080.0`, as the integer that it is; other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _lookahead(value: Any) -> int | str:
    """A number of frames, or `full`."""
    number = _whole_number(value)
    if type(number) is int and 0 <= number <= _MAX_LOOKAHEAD:
        return number
    if value == "full":
        return "full"
    raise PydanticCustomError("value_error", "it must be a number of frames from 0 on, or `full`")


Whole = Annotated[int, BeforeValidator(_whole_number)]
Lookahead = Annotated[
    int | Literal["full"],
    PlainValidator(_lookahead, json_schema_input_type=Annotated[int, Field(ge=0, le=_MAX_LOOKAHEAD)] | Literal["full"]),
]

# `fail_fast`: one wrong value is enough to refuse a request; collecting all of them in 10 000 frames takes seconds.
Number = Annotated[float, Field(allow_inf_nan=False)]
Coordinate = Annotated[float, AfterValidator(_finite_or_nan)] | None  # a joint with a null or a NaN is missing
Joint = Annotated[list[Coordinate], Field(min_length=2, max_length=3, fail_fast=True)]
Frame = Annotated[list[Joint | None], Field(fail_fast=True)]
Frames = Annotated[list[Frame | None], Field(min_length=1, fail_fast=True)]
PoseJoint = Annotated[list[Coordinate], Field(min_length=3, max_length=3, fail_fast=True)]
PoseFrame = Annotated[list[PoseJoint | None], Field(fail_fast=True)]
PoseFrames = Annotated[list[PoseFrame | None], Field(min_length=1, fail_fast=True)]
Pixels = Annotated[Whole, Field(ge=1, le=MAX_IMAGE_PX)]

ABOUT_KEYPOINTS = (
    "One entry per frame, in time order: an array with one entry per joint of the skeleton, or null where the person "
    "was not detected. A joint is [x, y, score] or [x, y], in pixels from the top-left corner, or null where missing. "
    "It is missing, too, where one of its numbers is null or its score negative, and at exactly (0, 0) or (-1, -1)."
)
ABOUT_POSES = (
    "One entry per frame, in time order: an array with one entry per joint of the skeleton, or null where all joints "
    "are missing. A joint is [x, y, z] in metres, in camera axes (x right, y down, z forward) from any origin, or null "
    "where missing, also in place of its numbers. The pelvis must be present in at least one frame; where it is "
    "missing, it is interpolated linearly between the frames before and after."
)
_MODEL = "name, name@version or name@label; the server's default when left out."


SkeletonName = Annotated[
    str, Field(description="Names the joints and their order.", json_schema_extra={"enum": list(SKELETONS)})
]
TrackId = Annotated[
    str, Field(min_length=1, max_length=MAX_TRACK_ID_CHARACTERS, description="The caller's name for this person.")
]
ImageSize = Annotated[
    tuple[Pixels, Pixels],
    Field(description="Width and height in pixels of the image the keypoints were detected in."),
]
Fps = Annotated[float | None, Field(ge=MIN_FPS, le=MAX_FPS, description="Frames per second, when it is constant.")]
Time = Annotated[Number, Field(ge=-MAX_TIMESTAMP_S, le=MAX_TIMESTAMP_S)]
Timestamps = Annotated[
    list[Time] | None,
    Field(min_length=1, fail_fast=True, description="Seconds, one per frame, strictly increasing; instead of fps."),
]
ModelName = Annotated[str | None, Field(max_length=MAX_NAME_CHARACTERS, description=_MODEL)]
CoordinatesName = Annotated[
    Coordinates,
    Field(
        description="What x and y of the keypoints are: `pixels`, or `normalised`, shares of the image's width and "
        "height, which are multiplied by `image_size` first."
    ),
]
Strict = Annotated[
    bool, Field(description="Refuse with `invalid_request` what would otherwise be answered with one of `warnings`.")
]
KnownCamera = Annotated[CameraFields | None, Field(description="What is known of the camera.")]
KnownPerson = Annotated[PersonFields | None, Field(description="What is known of the person.")]
PersonChoice = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_TRACK_ID_CHARACTERS,
        description="Which of the tracks are answered: `all`, when left out; the track_id of one; or "
        + "; or ".join(f"`{choice}`, {meaning}" for choice, meaning in CHOICES.items() if choice != ALL)
        + ".",
    ),
]
Targets = Annotated[
    tuple[Annotated[Whole, Field(ge=0, le=MAX_INTEGER)], ...],
    Field(
        min_length=1,
        fail_fast=True,
        description="Indices of the frames to answer, increasing, from 0; every frame when left out. The poses of "
        "these are computed from all frames.",
    ),
]
