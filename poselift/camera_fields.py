"""What a caller says of a camera and of a person: its schema, and the one way from it to `Camera` and `Person`."""

import math
from typing import Annotated, LiteralString, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person, focal_from_fov, gravity_from_angles
from poselift.errors import InvalidKeypoints

MIN_FOV_DEG, MAX_FOV_DEG = 1.0, 170.0
MIN_HEIGHT_M, MAX_HEIGHT_M = 0.4, 2.6
# A shorter vector has no direction; lengths are not asked for, so m/s^2 are as good as units.
_MIN_GRAVITY, _MAX_GRAVITY = 1e-6, 1e6
_MAX_DISTORTION = 1e3
# Pictures may be cut out of larger ones, but not of ones so much larger.
_MAX_PICTURES_AWAY = 10

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Distortion = Annotated[_Number, Field(ge=-_MAX_DISTORTION, le=_MAX_DISTORTION)]
_Acceleration = Annotated[_Number, Field(ge=-_MAX_GRAVITY, le=_MAX_GRAVITY)]


class CameraFields(BaseModel):
    """What is known of the camera; everything is optional."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    focal_px: Annotated[
        _Number | None, Field(gt=0, description="Focal length in pixels of the image; instead of fov_deg.")
    ] = None
    fov_deg: Annotated[
        _Number | None,
        Field(ge=MIN_FOV_DEG, le=MAX_FOV_DEG, description="Horizontal field of view in degrees; instead of focal_px."),
    ] = None
    principal_point_px: Annotated[
        list[_Number] | None,
        Field(
            min_length=2,
            max_length=2,
            description="Where the optical axis meets the image, in pixels; its middle when left out.",
        ),
    ] = None
    distortion: Annotated[
        list[_Distortion] | None,
        Field(
            min_length=4,
            max_length=5,
            description="OpenCV's k1, k2, p1, p2 and, if there are five, k3; with fisheye its k1 to k4. Needs focal_px "
            "or fov_deg.",
        ),
    ] = None
    fisheye: Annotated[bool, Field(description="Whether the distortion is of OpenCV's fisheye model.")] = False
    gravity: Annotated[
        list[_Acceleration] | None,
        Field(
            min_length=3,
            max_length=3,
            description="Direction of falling in camera axes (x right, y down, z forward), of any length; instead of "
            "pitch_deg and roll_deg.",
        ),
    ] = None
    pitch_deg: Annotated[
        _Number | None, Field(ge=-90, le=90, description="Degrees by which the camera looks down; negative: up.")
    ] = None
    roll_deg: Annotated[
        _Number | None,
        Field(
            ge=-180,
            le=180,
            description="Degrees by which the camera is turned clockwise about its optical axis; 0 when only pitch_deg "
            "is given.",
        ),
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.focal_px is not None and self.fov_deg is not None:
            raise _refusal("it must have focal_px or fov_deg, and not both")
        if self.gravity is not None and (self.pitch_deg, self.roll_deg) != (None, None):
            raise _refusal("it must have gravity or pitch_deg with roll_deg, and not both")
        if self.roll_deg is not None and self.pitch_deg is None:
            raise _refusal("it must have pitch_deg beside roll_deg")
        if self.gravity is not None and math.hypot(*self.gravity) < _MIN_GRAVITY:
            raise _refusal("its gravity must be a direction: its three numbers cannot all be 0")
        if self.distortion is not None and self.focal_px is None and self.fov_deg is None:
            raise _refusal("it must have focal_px or fov_deg beside distortion")
        if self.fisheye and (self.distortion is None or len(self.distortion) != 4):
            raise _refusal("it must have a distortion of four numbers if it is fisheye")
        return self

    def overridden(self, other: "CameraFields") -> "CameraFields":
        """These with what another says in their place; it may say the same things in another way."""
        mine, theirs = self.model_dump(exclude_none=True), other.model_dump(exclude_none=True, exclude_unset=True)
        for same in (("focal_px", "fov_deg"), ("gravity", "pitch_deg", "roll_deg"), ("distortion", "fisheye")):
            if any(name in theirs for name in same):
                mine = {name: value for name, value in mine.items() if name not in same}
        return CameraFields.model_validate(mine | theirs)


class PersonFields(BaseModel):
    """What is known of a person."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    height_m: Annotated[
        _Number | None,
        Field(
            ge=MIN_HEIGHT_M, le=MAX_HEIGHT_M, description="Stature in metres: upright, without shoes, from top to sole."
        ),
    ] = None


def _refusal(clause: LiteralString) -> PydanticCustomError:
    return PydanticCustomError("value_error", clause)


def camera_from(fields: CameraFields | None, width_px: float, height_px: float) -> Camera:
    """The camera that a caller describes.

    Args:
        fields: None if the caller says nothing.
        width_px, height_px: size of its pictures.
    Raises:
        InvalidKeypoints: the focal length or the principal point cannot be that of such pictures.
    """
    if fields is None:
        return UNKNOWN_CAMERA
    focal_px = fields.focal_px
    if fields.fov_deg is not None:
        focal_px = focal_from_fov(fields.fov_deg, width_px, tuple(fields.distortion or ()) if fields.fisheye else None)
    elif focal_px is not None:
        _check_focal(focal_px, width_px)
    return Camera(
        focal_px,
        _principal_point(fields, width_px, height_px),
        tuple(fields.distortion or ()),
        fields.fisheye,
        _gravity(fields),
    )


def _check_focal(focal_px: float, width_px: float) -> None:
    fov_deg = 2 * math.degrees(math.atan(width_px / 2 / focal_px))
    if not MIN_FOV_DEG <= fov_deg <= MAX_FOV_DEG:
        raise InvalidKeypoints(
            f"A focal length of {focal_px:g} px means a field of view of {fov_deg:.1f} degrees in a picture of "
            f"{width_px:g} px; {MIN_FOV_DEG:g} to {MAX_FOV_DEG:g} are possible, and millimetres are no pixels.",
            path="camera.focal_px",
        )


def _principal_point(fields: CameraFields, width_px: float, height_px: float) -> tuple[float, float] | None:
    if fields.principal_point_px is None:
        return None
    x, y = fields.principal_point_px
    if max(abs(x) / width_px, abs(y) / height_px) > _MAX_PICTURES_AWAY:
        raise InvalidKeypoints(
            f"The principal point ({x:g}, {y:g}) px is far outside of pictures of {width_px:g} x {height_px:g}.",
            path="camera.principal_point_px",
        )
    return x, y


def _gravity(fields: CameraFields) -> tuple[float, float, float] | None:
    if fields.pitch_deg is not None:
        return gravity_from_angles(fields.pitch_deg, fields.roll_deg or 0.0)
    if fields.gravity is None:
        return None
    x, y, z = fields.gravity
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def person_from(fields: PersonFields | None, otherwise: Person = UNKNOWN_PERSON) -> Person:
    """The person whom a caller describes; `otherwise` if they say nothing."""
    return otherwise if fields is None or fields.height_m is None else Person(fields.height_m)
