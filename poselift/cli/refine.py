"""`poselift refine`: poses that were lifted before, put into the world again without a network."""

from collections.abc import Sequence as Items
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.cli.inputs import file_of
from poselift.cli.options import (
    Angles,
    FieldOfView,
    FocalLength,
    FootLock,
    Form,
    Height,
    Output,
    PictureSize,
    Pitch,
    Roll,
    Rotations,
    UpAxis,
    asked_world,
    known_camera,
    known_person,
    parse_picture_size,
)
from poselift.cli.outputs import destinations

if TYPE_CHECKING:
    from poselift.formats.writers.track import LiftedTrack
    from poselift.motion.world import WorldOptions
    from poselift.sequence import Sequence


def refine(
    source: Annotated[
        str, typer.Argument(metavar="ANSWER", help="JSON of `poselift lift --world`, or of POST /lift; - for stdin.")
    ],
    output: Output = None,
    form: Form = None,
    keypoints: Annotated[
        Path | None,
        typer.Option("--keypoints", metavar="FILE", help="What it was lifted from, if the answer does not hold it."),
    ] = None,
    skeleton: Annotated[str | None, typer.Option(help="Skeleton of these, if their file does not say it.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate in Hz of these, likewise.", min=0.001)] = None,
    image_size: Annotated[
        PictureSize | None,
        typer.Option(parser=parse_picture_size, metavar="WxH", help="Picture size of these, likewise."),
    ] = None,
    height: Height = None,
    fov: FieldOfView = None,
    focal: FocalLength = None,
    pitch: Pitch = None,
    roll: Roll = None,
    foot_lock: FootLock = None,
    up_axis: UpAxis = None,
    rotations: Rotations = False,
    angles: Angles = False,
) -> None:
    """Put lifted poses into the world again, with another height, camera or form. No network runs."""
    (destination,) = destinations([source], output, form)
    from poselift.formats.readers.answer import read_answer
    from poselift.formats.readers.keypoint_file import read_keypoints

    asked = asked_world(True, foot_lock, up_axis, rotations, angles)
    assert asked is not None
    camera, about = known_camera(fov, focal, pitch, roll), known_person(height)
    given = None
    if keypoints is not None:
        size_px = image_size.px if image_size else None
        given = read_keypoints(
            keypoints, skeleton=skeleton, fps=fps, image_size=size_px, camera=camera, about=about
        ).tracks
    with file_of(source) as path:
        answer = read_answer(path, given, camera=camera, about=about)
    sequences = [track.sequence for track in answer.tracks if track.sequence is not None]
    destination.check([sequence.times_s for sequence in sequences])
    destination.write(answer.manifest, in_world(answer.tracks, sequences, asked))


def in_world(tracks: "Items[LiftedTrack]", sequences: "Items[Sequence]", asked: "WorldOptions") -> "list[LiftedTrack]":
    """Tracks with their motion in the world, and the keypoints, so that it can be refined.

    Args:
        sequences: the keypoints of each.
    Raises:
        InvalidKeypoints: the path of a person cannot be found.
    """
    from poselift.motion.clip import motion_of

    return [
        track._replace(world=motion_of(track.lifted, sequence, asked), sequence=sequence)
        for track, sequence in zip(tracks, sequences, strict=True)
    ]
