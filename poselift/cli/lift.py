"""`poselift lift` and `poselift complete`: from files of keypoints or poses to files of poses."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from poselift.cli.exits import BAD_INPUT, exit_with
from poselift.cli.inputs import file_of, name_of
from poselift.cli.options import (
    DEFAULT_REPOSITORY,
    Angles,
    FieldOfView,
    FocalLength,
    FootLock,
    Form,
    Height,
    MirroredAverage,
    Model,
    Models,
    Output,
    PictureSize,
    Pitch,
    Roll,
    Rotations,
    UpAxis,
    World,
    asked_world,
    known_camera,
    known_person,
    parse_picture_size,
)
from poselift.cli.outputs import Destination, destinations
from poselift.cli.refine import in_world
from poselift.cli.repository import load_model
from poselift.cli.view import Browser, Port, view_lifted
from poselift.errors import InvalidFile, sentence_about

if TYPE_CHECKING:
    from poselift.formats.readers.keypoint_file import KeypointFile
    from poselift.formats.writers.track import LiftedTrack
    from poselift.networks.clips import ClipLifter

Skeleton = Annotated[str | None, typer.Option(help="Name of the skeleton, if the file does not say it.")]
FrameRate = Annotated[float | None, typer.Option(help="Frame rate in Hz, if the file does not say it.", min=0.001)]


def lift(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Detectors' files, folders of OpenPose files, or - for standard input."
        ),
    ],
    output: Output = None,
    form: Form = None,
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
    coordinates: Annotated[
        Literal["pixels", "normalised"] | None,
        typer.Option(
            help="What the positions are, if the file does not say it: pixels, or shares of the picture.",
            show_default="pixels",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with an error where there would be a warning.")] = False,
    mirrored_average: MirroredAverage = False,
    height: Height = None,
    fov: FieldOfView = None,
    focal: FocalLength = None,
    pitch: Pitch = None,
    roll: Roll = None,
    world: World = False,
    foot_lock: FootLock = None,
    up_axis: UpAxis = None,
    rotations: Rotations = False,
    angles: Angles = False,
    view: Annotated[
        bool, typer.Option("--view", help="Show the poses in a browser; nothing goes to standard output then.")
    ] = False,
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Lift the 2D keypoints of files to 3D poses. The numbers are those that POST /lift answers with."""
    # As the server: without it, threads of a busy machine spin while they wait, and each slows the others down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if view and len(inputs) > 1:
        raise InvalidFile("One input is shown at a time: --view takes a single one.")
    found = destinations(inputs, output, form)
    from poselift.formats.readers.keypoint_file import read_keypoints
    from poselift.motion.clip import check_skeleton
    from poselift.networks.clips import ClipLifter

    lifter = functools.cache(lambda: ClipLifter(load_model(models, model)))
    if len(inputs) > 1:
        lifter()  # a model that is missing ends the command, and not each input
    size_px = image_size.px if image_size else None
    camera, about = known_camera(fov, focal, pitch, roll), known_person(height)
    rigs = any(destination.form.needs_world for destination in found)
    asked = asked_world(world or rigs, foot_lock, up_axis, rotations, angles)

    def lift_one(source: str, destination: Destination) -> None:
        with file_of(source) as path:
            keypoints = read_keypoints(
                path,
                skeleton=skeleton,
                fps=fps,
                image_size=size_px,
                coordinates=coordinates,
                track=track,
                person=person,
                strict=strict,
                camera=camera,
                about=about,
            )
        destination.check([track.sequence.times_s for track in keypoints.tracks])
        _say_what_was_noticed(source, keypoints)
        if asked is not None:
            check_skeleton(lifter().manifest.target)
        lifted = _lift_tracks(lifter(), source, keypoints, mirrored_average)
        if asked is not None:
            lifted = in_world(lifted, [track.sequence for track in keypoints.tracks], asked)
        if destination.path is not None or not view:
            destination.write(lifter().manifest, lifted, keypoints.warnings)
        if view:
            view_lifted(source, lifter().manifest, keypoints, lifted, port=port, browser=browser)

    _for_each(inputs, found, lift_one)


def complete(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="3D poses with missing joints: a JSON body of POST /complete, or .npz; - for stdin."
        ),
    ],
    output: Output = None,
    form: Form = None,
    model: Model = None,
    models: Models = DEFAULT_REPOSITORY,
    skeleton: Skeleton = None,
    fps: FrameRate = None,
    mirrored_average: MirroredAverage = False,
) -> None:
    """Fill in the missing joints of 3D poses. The numbers are those that POST /complete answers with."""
    (destination,) = destinations([source], output, form)
    from poselift import completion
    from poselift.formats.readers.pose_file import read_poses
    from poselift.formats.writers.track import LiftedTrack
    from poselift.lifters.lifter import Task

    with file_of(source) as path:
        tracks = read_poses(path, skeleton=skeleton, fps=fps)
    destination.check([track.sequence.times_s for track in tracks])
    artifact = load_model(models, model, Task.COMPLETE)
    completed = [
        LiftedTrack(
            track.track_id,
            completion.complete(artifact, track.sequence, mirrored_average=mirrored_average),
            track.first_frame,
            track.sequence.times_s,
        )
        for track in tracks
    ]
    destination.write(artifact.manifest, completed)


def _for_each(inputs: Sequence[str], found: Sequence[Destination], work: Callable[[str, Destination], None]) -> None:
    """Work on each input. One of several that cannot be used is reported, and fails the command in the end."""
    failed = []
    for source, destination in zip(inputs, found, strict=True):
        try:
            work(source, destination)
        except Exception as error:
            if len(inputs) == 1 or (sentence := sentence_about(error)) is None:
                raise
            name = name_of(source)
            typer.echo(f"poselift: {sentence if name in sentence else f'{name}: {sentence}'}", err=True)
            failed.append(name)
    if failed:
        raise exit_with(f"{len(failed)} of {len(inputs)} inputs failed: {', '.join(failed)}.", BAD_INPUT)


def _say_what_was_noticed(source: str, keypoints: "KeypointFile") -> None:
    for warning in keypoints.warnings:
        typer.echo(f"poselift: {name_of(source)}: warning: {warning.message}", err=True)
    if first := keypoints.tracks[0].first_frame:
        typer.echo(f"poselift: {name_of(source)} starts with frame {first}; so do the poses.", err=True)


def _lift_tracks(
    lifter: "ClipLifter", source: str, keypoints: "KeypointFile", mirrored_average: bool
) -> "list[LiftedTrack]":
    from poselift.formats.writers.track import LiftedTrack
    from poselift.progress import long_work

    frames = sum(len(track.sequence.times_s) for track in keypoints.tracks)
    with long_work(frames, f"poselift: {name_of(source)}", "frames") as advance:
        return [
            LiftedTrack(
                track.track_id,
                lifter.lift(track.sequence, mirrored_average=mirrored_average, advance=advance),
                track.first_frame,
                track.sequence.times_s,
            )
            for track in keypoints.tracks
        ]
