"""Arguments and options that several commands take."""

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from poselift.artifacts.default_repository import default_repository

if TYPE_CHECKING:
    from poselift.camera_fields import CameraFields, PersonFields
    from poselift.motion.world import WorldOptions

# As `poselift.motion.world.FootLock`, whose import takes NumPy's time.
FootLockMode: TypeAlias = Literal["off", "auto", "always", "grounding"]
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
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|FOLDER|-",
        help="Its ending chooses the form: .json, .npz, .csv, .wide.csv, .parquet, .trc, .c3d, and of motion "
        "in the world .bvh, .glb, .angles.csv. By default JSON goes to standard output.",
    ),
]
Form = Annotated[
    str | None, typer.Option("--format", metavar="FORM", help="Form of the output, such as csv, if no ending says it.")
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
World = Annotated[
    bool,
    typer.Option("--world", help="Put people into the world: upright, in metres, on the ground. Forms of rigs do it."),
]
FootLock = Annotated[
    FootLockMode | None,
    typer.Option("--foot-lock", help="Feet on the ground: held still, or left as they are.", show_default="auto"),
]
UpAxis = Annotated[
    Literal["y", "z"] | None, typer.Option("--up-axis", help="The axis that points up.", show_default="y")
]
Rotations = Annotated[bool, typer.Option("--rotations", help="Write rotations of joints, too (JSON).")]
Angles = Annotated[bool, typer.Option("--angles", help="Write angles of joints, too (JSON).")]


def asked_world(
    world: bool, foot_lock: FootLockMode | None, up_axis: Literal["y", "z"] | None, rotations: bool, angles: bool
) -> "WorldOptions | None":
    """How the options ask for motion in the world: any of them does. None if none is given."""
    if not (world or foot_lock or up_axis or rotations or angles):
        return None
    from poselift.motion.world import WorldOptions

    return WorldOptions(up_axis or "y", foot_lock or "auto", rotations, angles)


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
