"""How a file is to be read, lifted and answered: the options of `poselift lift`, as a query."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poselift.coordinates import Coordinates
from poselift.person_choice import CHOICES
from poselift_service.codecs.json.refusals import refusal
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import (
    MAX_FPS,
    MAX_IMAGE_PX,
    MAX_NAME_CHARACTERS,
    MAX_TRACK_ID_CHARACTERS,
    MIN_FPS,
)

FormName = Literal["json", "npz", "csv", "wide.csv", "parquet", "trc", "c3d"]


class FileOptions(BaseModel):
    """The query of `POST /lift/file`. What is left out is as the file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Annotated[FormName, Field(description="Form of the answer; the forms that `poselift lift -o` writes.")] = (
        "json"
    )
    keypoints: Annotated[
        bool,
        Field(description="Answer in JSON with `request`, too: the keypoints of the file as a body of `POST /lift`."),
    ] = False
    model: Annotated[
        str | None,
        Field(max_length=MAX_NAME_CHARACTERS, description="name, name@version or name@label; else the default."),
    ] = None
    skeleton: Annotated[str | None, Field(max_length=MAX_NAME_CHARACTERS, description="Name of the skeleton.")] = None
    fps: Annotated[float | None, Field(ge=MIN_FPS, le=MAX_FPS, description="Frames per second.")] = None
    image_size: Annotated[
        str | None,
        Field(pattern=r"^[1-9]\d{0,5}x[1-9]\d{0,5}$", description="Size of the picture, such as `1920x1080`."),
    ] = None
    coordinates: Annotated[Coordinates | None, Field(description="What the positions are.")] = None
    person: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_TRACK_ID_CHARACTERS,
            description=f"Whom to lift: {', '.join(CHOICES)}, or an identity.",
        ),
    ] = None
    track: Annotated[
        bool, Field(description="Tell people apart by where they are, not by the identities of the file.")
    ] = False
    strict: Annotated[bool, Field(description="Refuse what would otherwise be answered with a warning.")] = False
    mirrored_average: Annotated[
        bool, Field(description="Also lift the mirrored person and average both, for twice the work.")
    ] = False

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the picture in pixels."""
        if self.image_size is None:
            return None
        width, _, height = self.image_size.partition("x")
        return min(int(width), MAX_IMAGE_PX), min(int(height), MAX_IMAGE_PX)


def read_options(query: Mapping[str, str]) -> FileOptions:
    """Validate a query.

    Raises:
        InvalidRequest: an option does not exist, or has a value that it cannot have.
    """
    try:
        return FileOptions.model_validate(dict(query))
    except ValidationError as error:
        raise _named(refusal(error)) from None


def _named(error: InvalidRequest) -> InvalidRequest:
    if error.path == "image_size":
        return InvalidRequest("The image_size is width and height in pixels, such as 1920x1080.", path=error.path)
    return error
