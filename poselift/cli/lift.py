"""`poselift lift` and `poselift complete`: from a file of keypoints or poses to a file of poses."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.cli.options import (
    DEFAULT_REPOSITORY,
    MirroredAverage,
    Model,
    Models,
    PictureSize,
    parse_picture_size,
)
from poselift.cli.repository import load_model
from poselift.errors import InvalidFile

if TYPE_CHECKING:
    from poselift.artifacts.manifest import Manifest
    from poselift.formats.writers.track import LiftedTrack

Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="A .json or .npz file; by default JSON goes to stdout.")
]
Skeleton = Annotated[str | None, typer.Option(help="Name of the skeleton, if the file does not say it.")]
FrameRate = Annotated[float | None, typer.Option(help="Frame rate in Hz, if the file does not say it.", min=0.001)]


def lift(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A detector's file, or a folder of OpenPose files.")],
    output: Output = None,
    model: Model = None,
    models: Models = DEFAULT_REPOSITORY,
    skeleton: Skeleton = None,
    fps: FrameRate = None,
    image_size: Annotated[
        PictureSize | None,
        typer.Option(parser=parse_picture_size, metavar="WxH", help="Picture size, if the file does not say it."),
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(metavar="P", help="Whom to lift: all, largest, longest, first, or an identity.  [default: all]"),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Tell people apart by where they are, not by the identities of the file.")
    ] = False,
    mirrored_average: MirroredAverage = False,
) -> None:
    """Lift the 2D keypoints of a file to 3D poses. The numbers are those that POST /lift answers with."""
    _check_output(output)
    from poselift import lifting
    from poselift.formats.readers.keypoint_file import read_keypoints
    from poselift.formats.writers.track import LiftedTrack

    tracks, warnings = read_keypoints(
        source,
        skeleton=skeleton,
        fps=fps,
        image_size=image_size.px if image_size else None,
        track=track,
        person=person,
    )
    for warning in warnings:
        typer.echo(f"poselift: {source}: warning: {warning.message}", err=True)
    if first := tracks[0].first_frame:
        typer.echo(f"poselift: {source} starts with frame {first}; so do the poses.", err=True)
    artifact = load_model(models, model)
    lifted = [
        LiftedTrack(
            track.track_id,
            lifting.lift(artifact, track.sequence, mirrored_average=mirrored_average),
            track.first_frame,
        )
        for track in tracks
    ]
    _write(output, artifact.manifest, lifted)


def complete(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="3D poses with missing joints: a JSON body of POST /complete, or .npz.")
    ],
    output: Output = None,
    model: Model = None,
    models: Models = DEFAULT_REPOSITORY,
    skeleton: Skeleton = None,
    fps: FrameRate = None,
    mirrored_average: MirroredAverage = False,
) -> None:
    """Fill in the missing joints of 3D poses. The numbers are those that POST /complete answers with."""
    _check_output(output)
    from poselift import completion
    from poselift.formats.readers.pose_file import read_poses
    from poselift.formats.writers.track import LiftedTrack
    from poselift.lifters.lifter import Task

    tracks = read_poses(source, skeleton=skeleton, fps=fps)
    artifact = load_model(models, model, Task.COMPLETE)
    completed = [
        LiftedTrack(track.track_id, completion.complete(artifact, track.sequence, mirrored_average=mirrored_average))
        for track in tracks
    ]
    _write(output, artifact.manifest, completed)


def _check_output(output: Path | None) -> None:
    if output is not None and output.suffix not in (".json", ".npz"):
        raise InvalidFile(f"{output}: poses are written as .json or .npz.")


def _write(output: Path | None, manifest: "Manifest", tracks: "Sequence[LiftedTrack]") -> None:
    from poselift.formats.writers.json import dump_json
    from poselift.formats.writers.npz import write_npz

    if output is None:
        sys.stdout.write(dump_json(manifest, tracks))
        sys.stdout.flush()  # so that a full disk is noticed here
    elif output.suffix == ".json":
        output.write_text(dump_json(manifest, tracks), encoding="utf-8")
    else:
        write_npz(output, manifest, tracks)
