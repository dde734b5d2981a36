"""Arguments and options that several commands take."""

import re
from typing import Annotated

import typer

from poselift.artifacts.default_repository import default_repository

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
