"""Arguments and options that several commands take."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.artifacts.default_repository import default_repository

if TYPE_CHECKING:
    from poselift.camera_fields import CameraFields, PersonFields

DEFAULT_REPOSITORY = ""
"""Replaced by `default_repository()` when a command runs."""


def _repository(given: str) -> str:
    return given or str(default_repository())


Models = Annotated[
    str,
    typer.Option(
        "--models",
        envvar="POSELIFT_MODELS",
        callback=_repository,
        show_default="./models, or the models of the installation",
        help="Model repository: a folder of <name>/<version>/, or an address like s3://bucket/prefix.",
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", help="NAME, NAME@VERSION, NAME@LABEL, or a model's folder or address.")
]
MirroredAverage = Annotated[
    bool,
    typer.Option("--mirrored-average", help="Average with the mirrored person: slightly more accurate, half as fast."),
]
Height = Annotated[
    float | None, typer.Option("--height", metavar="M", min=0.4, max=2.6, help="Stature of the person in metres.")
]
FieldOfView = Annotated[
    float | None, typer.Option("--fov", metavar="DEG", min=1, max=170, help="Horizontal field of view of the camera.")
]
FocalLength = Annotated[
    float | None, typer.Option("--focal", metavar="PX", min=1e-3, help="Focal length in pixels, instead of --fov.")
]
Pitch = Annotated[
    float | None,
    typer.Option("--pitch", metavar="DEG", min=-90, max=90, help="How far the camera looks down; negative: up."),
]
Roll = Annotated[
    float | None,
    typer.Option("--roll", metavar="DEG", min=-180, max=180, help="How far it is turned clockwise; with --pitch."),
]


def known_camera(
    fov_deg: float | None, focal_px: float | None, pitch_deg: float | None, roll_deg: float | None
) -> "CameraFields | None":
    """What the options say of the camera; None if they say nothing.

    Raises:
        typer.BadParameter: they contradict each other.
    """
    from poselift.camera_fields import CameraFields

    if fov_deg is not None and focal_px is not None:
        raise typer.BadParameter("Give either --fov or --focal, not both.")
    if roll_deg is not None and pitch_deg is None:
        raise typer.BadParameter("--roll needs --pitch beside it, such as --pitch 0.")
    said = {"fov_deg": fov_deg, "focal_px": focal_px, "pitch_deg": pitch_deg, "roll_deg": roll_deg}
    given = {name: value for name, value in said.items() if value is not None}
    return CameraFields.model_validate(given) if given else None


def known_person(height_m: float | None) -> "PersonFields | None":
    """What the options say of the person; None if they say nothing."""
    from poselift.camera_fields import PersonFields

    return None if height_m is None else PersonFields(height_m=height_m)


class PictureSize(str):
    """A picture size written as `1920x1080`."""

    @property
    def px(self) -> tuple[float, float]:
        """Width and height in pixels."""
        width, height = self.split("x")
        return float(width), float(height)


def parse_picture_size(text: str) -> PictureSize:
    """Parse `1920x1080`.

    Raises:
        typer.BadParameter: the text has another form.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", text):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 1920x1080.")
    return PictureSize(text)
