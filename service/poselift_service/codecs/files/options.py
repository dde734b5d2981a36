"""How a file is to be read, lifted and answered: the options of `poselift lift`, as a query."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poselift.camera_fields import CameraFields, PersonFields
from poselift.coordinates import Coordinates
from poselift.formats.writers.pose_file import form_of
from poselift.motion.world import FootLock, WorldOptions
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

FormName = Literal[
    "json",
    "npz",
    "csv",
    "wide.csv",
    "parquet",
    "trc",
    "c3d",
    "bvh",
    "mixamo.bvh",
    "lafan1.bvh",
    "glb",
    "angles.csv",
]


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

    height_m: Annotated[float | None, Field(description="Stature of everybody in metres.")] = None
    fov_deg: Annotated[float | None, Field(description="Horizontal field of view of the camera.")] = None
    focal_px: Annotated[float | None, Field(description="Its focal length in pixels, instead of fov_deg.")] = None
    pitch_deg: Annotated[float | None, Field(description="How far it looks down; negative: up.")] = None
    roll_deg: Annotated[float | None, Field(description="How far it is turned clockwise; with pitch_deg.")] = None
    world: Annotated[
        bool, Field(description="Also find the motion in the world; forms of rigs and of angles do it anyway.")
    ] = False
    foot_lock: Annotated[FootLock, Field(description="What is done to feet on the ground.")] = "auto"
    up_axis: Annotated[Literal["y", "z"], Field(description="The axis of the world that points up.")] = "y"
    rotations: Annotated[bool, Field(description="Also answer rotations of joints, with world.")] = False
    angles: Annotated[bool, Field(description="Also answer angles of joints, with world.")] = False

    @property
    def asked_world(self) -> WorldOptions | None:
        """How motion in the world is asked for; None if it is not."""
        if not (self.world or form_of(self.format).needs_world):
            return None
        return WorldOptions(self.up_axis, self.foot_lock, self.rotations, self.angles)

    @property
    def camera(self) -> dict[str, float]:
        """What is known of the camera, as `CameraFields` has it."""
        said = {name: getattr(self, name) for name in ("fov_deg", "focal_px", "pitch_deg", "roll_deg")}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def person_known(self) -> dict[str, float]:
        """What is known of everybody, as `PersonFields` has it."""
        return {} if self.height_m is None else {"height_m": self.height_m}

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the picture in pixels."""
        if self.image_size is None:
            return None
        width, _, height = self.image_size.partition("x")
        return min(int(width), MAX_IMAGE_PX), min(int(height), MAX_IMAGE_PX)


class RefineOptions(BaseModel):
    """The query of `POST /refine`, if the answer shall be a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Annotated[
        FormName | None,
        Field(description="Answer with a file of the poses in this form, as `POST /lift/file` does."),
    ] = None
    world: Annotated[
        bool, Field(description="With format: also with the motion in the world; forms of rigs and of angles have it.")
    ] = False
    first_frame: Annotated[int, Field(ge=0, le=2**53 - 1, description="With format: number of the first frame.")] = 0

    @property
    def has_world(self) -> bool:
        """Whether the file has motion in the world."""
        return self.world or (self.format is not None and form_of(self.format).needs_world)


def read_refine_options(query: Mapping[str, str]) -> RefineOptions:
    """Validate a query.

    Raises:
        InvalidRequest: an option does not exist, or has a value that it cannot have.
    """
    try:
        return RefineOptions.model_validate(dict(query))
    except ValidationError as error:
        raise refusal(error) from None


def read_options(query: Mapping[str, str]) -> FileOptions:
    """Validate a query.

    Raises:
        InvalidRequest: an option does not exist, or has a value that it cannot have.
    """
    try:
        options = FileOptions.model_validate(dict(query))
    except ValidationError as error:
        raise _named(refusal(error)) from None
    try:
        CameraFields.model_validate(options.camera)
        PersonFields.model_validate(options.person_known)
    except ValidationError as error:
        raise refusal(error, path="" if error.errors()[0]["loc"] else "camera") from None
    return options


def _named(error: InvalidRequest) -> InvalidRequest:
    if error.path == "image_size":
        return InvalidRequest("The image_size is width and height in pixels, such as 1920x1080.", path=error.path)
    return error
