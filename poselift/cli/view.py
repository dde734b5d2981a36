"""`poselift view`: a file of poses in a browser."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.cli.inputs import file_of, name_of
from poselift.cli.local_page import show_page

if TYPE_CHECKING:
    from poselift.artifacts.manifest import Manifest
    from poselift.formats.readers.keypoint_file import KeypointFile
    from poselift.formats.writers.track import LiftedTrack

Port = Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.", min=0, max=65535)]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]


def view(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Poses, as JSON or npz of `poselift lift`; - for standard input.")
    ],
    skeleton: Annotated[str | None, typer.Option(help="Name of the skeleton, if the file does not say it.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate in Hz, if the file does not say it.", min=0.001)] = None,
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Show the poses of a file in a browser, on this machine alone."""
    from poselift.formats.readers.pose_file import read_poses
    from poselift.formats.writers.view import dump_view, poses_of_file

    with file_of(source) as path:
        answer = poses_of_file(path, read_poses(path, skeleton=skeleton, fps=fps))
    show_page(dump_view(Path(name_of(source)).name, answer, forms=[]), {}, port=port, browser=browser)


def view_lifted(
    source: str,
    manifest: "Manifest",
    keypoints: "KeypointFile",
    lifted: "Sequence[LiftedTrack]",
    *,
    port: int,
    browser: bool,
) -> None:
    """Show poses beside the keypoints that they were lifted from."""
    from poselift.formats.writers.json import poses_document
    from poselift.formats.writers.pose_file import Form, pack_poses, usable_forms
    from poselift.formats.writers.request import request_document
    from poselift.formats.writers.view import dump_view

    answer = poses_document(manifest, lifted, keypoints.warnings)
    has_world = all(track.world is not None for track in lifted)
    forms = {form.ending[1:]: form for form in usable_forms(world=has_world)}
    document = dump_view(
        Path(name_of(source)).name, answer, request=request_document(keypoints.tracks), forms=list(forms)
    )

    def packed(form: Form) -> Callable[[], bytes]:
        return lambda: pack_poses(form, manifest, lifted, keypoints.warnings).content

    show_page(document, {name: packed(form) for name, form in forms.items()}, port=port, browser=browser)
