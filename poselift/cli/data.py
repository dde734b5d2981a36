"""`poselift data`: prepare training data."""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from poselift.errors import InvalidFile, PoseliftError

app = typer.Typer(help="Prepare training data.", no_args_is_help=True, rich_markup_mode=None)


class Split(enum.StrEnum):
    """The part of a data set that a clip belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@app.command("bvh")
def convert_bvh(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="BVH files with names of MotionBuilder, Mixamo or LAFAN1, y up."),
    ],
    out: Annotated[Path, typer.Option(help="The .npz file to write; index.json beside it is extended.")],
    unit_m: Annotated[float, typer.Option(help="Metres per unit; 0.056444 for cgspeed's CMU files.", min=1e-6)] = 0.01,
    subject: Annotated[str, typer.Option(help="Name of the recorded person.")] = "01",
    split: Annotated[Split, typer.Option(help="Part of the data set that the clips belong to.")] = Split.TRAIN,
    source: Annotated[str, typer.Option(help="Where the files come from.")] = "own",
    licence: Annotated[str, typer.Option(help="Licence of the files.")] = "own",
    skip: Annotated[int, typer.Option(help="Frames to drop at the start, such as a T-pose.", min=0)] = 0,
) -> None:
    """Convert BVH recordings to clips that `pretrain` and `finetune` read."""
    from poselift_training.data.bvh import put_on_floor, read_bvh, resample, seventeen_joints
    from poselift_training.data.clips import FRAME_RATE_HZ, Clip, write_clips

    if out.suffix != ".npz":
        raise InvalidFile(f"{out}: clips are written as .npz.")
    clips = []
    for file in files:
        motion = read_bvh(file)
        if motion.n_frames <= skip:
            raise InvalidFile(f"{file} has only {motion.n_frames} frames, and {skip} are to be dropped (--skip).")
        with _naming(file):
            joints = put_on_floor(seventeen_joints(resample(motion.after(skip), FRAME_RATE_HZ), unit_m))
        clips.append(Clip(file.stem, subject, joints, split.value, source, licence, action=file.stem))
    write_clips(out, clips)
    typer.echo(f"{out}: {len(clips)} clips, {sum(len(clip.joints) for clip in clips)} frames")


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Prefix errors about the content of a file with its name."""
    try:
        yield
    except PoseliftError as error:
        raise type(error)(f"{file}: {error.message}", path=error.path) from error
