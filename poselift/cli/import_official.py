"""`poselift import`: publish the official checkpoints of the papers as artifacts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poselift.cli.options import PictureSize, parse_picture_size
from poselift.errors import InvalidArtifact

if TYPE_CHECKING:
    from poselift.artifacts.manifest import Manifest
    from poselift.lifters.lifter import Lifter

app = typer.Typer(help="Import official checkpoints as artifacts.", no_args_is_help=True, rich_markup_mode=None)

REFINE_FILE = "refine.safetensors"

Checkpoint = Annotated[Path, typer.Argument(metavar="FILE", help="An official checkpoint.")]
Out = Annotated[str, typer.Option(help="Model repository to publish in: a folder or an address.")]
ArtifactName = Annotated[str | None, typer.Option(help="Name of the artifact; by default SYSTEM-official-FRAMES.")]
FrameRate = Annotated[float, typer.Option(help="Frame rate of its training data in Hz.", min=0.001)]
Stride = Annotated[int, typer.Option(help="Frames from one sample of its window to the next.", min=1)]
InputSkeleton = Annotated[str, typer.Option(help="Skeleton of the keypoints it takes.")]
OutputSkeleton = Annotated[str, typer.Option(help="Skeleton of its poses.")]
Unit = Annotated[float, typer.Option(help="Metres per unit of its output; 0.001 for MPI-INF-3DHP.")]
Screen = Annotated[
    PictureSize | None,
    typer.Option(
        parser=parse_picture_size, metavar="WxH", help="Picture size it normalises with, if not the video's own."
    ),
]


@app.command("pstmo")
def import_pstmo(
    checkpoint: Checkpoint,
    out: Out,
    refine: Annotated[Path | None, typer.Option(help="Checkpoint of the refine module that belongs to it.")] = None,
    name: ArtifactName = None,
    frame_rate: FrameRate = 50,
    stride: Stride = 1,
    input_skeleton: InputSkeleton = "h36m17",
    output_skeleton: OutputSkeleton = "h36m17",
    unit_m: Unit = 1.0,
    screen: Screen = None,
) -> None:
    """Publish an official P-STMO checkpoint of stage II as an artifact."""
    from poselift.lifters.official.pstmo import import_pstmo as read_checkpoint

    lifter, refinement = read_checkpoint(checkpoint, refine)
    extra_files = {}
    if refinement is not None:
        import safetensors.torch

        # A file of its own: the module needs the true depth of the pelvis, so only an evaluation can use it.
        extra_files[REFINE_FILE] = safetensors.torch.save(refinement.state_dict())
    published = _publish_official(
        lifter,
        out,
        name=name,
        system="pstmo",
        input_skeleton=input_skeleton,
        output_skeleton=output_skeleton,
        screen=screen,
        frame_rate_hz=frame_rate,
        temporal_stride=stride,
        unit_m=unit_m,
        checkpoint=checkpoint,
        attribution="P-STMO, Shan et al., ECCV 2022",
        extra_files=extra_files,
    )
    typer.echo(published)


@app.command("mixste")
def import_mixste(
    checkpoint: Checkpoint,
    out: Out,
    name: ArtifactName = None,
    frame_rate: FrameRate = 50,
    input_skeleton: InputSkeleton = "h36m17",
    output_skeleton: OutputSkeleton = "h36m17",
    unit_m: Unit = 1.0,
    screen: Screen = None,
) -> None:
    """Publish an official MixSTE checkpoint, `epoch_*.bin` or `best_epoch.bin`, as an artifact."""
    from poselift.lifters.official.mixste import import_mixste as read_checkpoint

    published = _publish_official(
        read_checkpoint(checkpoint),
        out,
        name=name,
        system="mixste",
        input_skeleton=input_skeleton,
        output_skeleton=output_skeleton,
        screen=screen,
        frame_rate_hz=frame_rate,
        temporal_stride=1,
        unit_m=unit_m,
        checkpoint=checkpoint,
        attribution="MixSTE, Zhang et al., CVPR 2022",
    )
    typer.echo(published)


@app.command("mpm")
def import_mpm(
    checkpoint: Checkpoint,
    out: Out,
    name: ArtifactName = None,
    frame_rate: FrameRate = 50,
    stride: Stride = 1,
    input_skeleton: InputSkeleton = "h36m17",
    output_skeleton: OutputSkeleton = "h36m17",
    unit_m: Unit = 1.0,
    screen: Screen = None,
) -> None:
    """Publish an official MPM checkpoint of pose estimation or of 3D completion as an artifact."""
    from poselift.lifters.official.mpm import import_served as read_checkpoint

    system, lifter = read_checkpoint(checkpoint)
    published = _publish_official(
        lifter,
        out,
        name=name,
        system=system,
        input_skeleton=input_skeleton,
        output_skeleton=output_skeleton,
        screen=screen,
        frame_rate_hz=frame_rate,
        temporal_stride=stride,
        unit_m=unit_m,
        checkpoint=checkpoint,
        attribution="MPM, Zhang et al.",
    )
    typer.echo(published)


def _publish_official(
    lifter: "Lifter",
    out: str,
    *,
    system: str,
    name: str | None,
    input_skeleton: str,
    output_skeleton: str,
    screen: PictureSize | None,
    checkpoint: Path,
    extra_files: Mapping[str, bytes] = {},
    **fields: Any,
) -> str:
    """Publish an imported lifter, whose joints must be those of the skeletons.

    Returns:
        The location of the new artifact.
    Raises:
        InvalidArtifact: the numbers of joints differ, or another field is wrong.
    """
    from poselift.artifacts.publish import publish

    draft = _draft_manifest(
        name=name or f"{system}-official-{lifter.receptive_field}",
        system=system,
        network={},
        input_skeleton=input_skeleton,
        output_skeleton=output_skeleton,
        screen={} if screen is None else {"width_px": screen.px[0], "height_px": screen.px[1]},
        missing_joints="token" if lifter.config.mask_token else "hold",
        data=[{"source": f"official checkpoint {checkpoint.name}", "licence": "that of its training data"}],
        **fields,
    )
    for skeleton, joints in ((draft.source, lifter.config.joints_in), (draft.target, lifter.config.joints_out)):
        if skeleton.n_joints != joints:
            raise InvalidArtifact(
                f"{checkpoint} has {joints} joints, and the skeleton {skeleton.name} has {skeleton.n_joints}; "
                "--input-skeleton and --output-skeleton choose others."
            )
    return publish(out, draft, lifter, extra_files=extra_files)


def _draft_manifest(**fields: Any) -> "Manifest":
    from pydantic import ValidationError

    from poselift.artifacts.manifest import Manifest
    from poselift.validation import first_finding

    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        fault = first_finding(error)
        raise InvalidArtifact(
            f"This cannot be published: {f'{fault.path}: {fault.message}'.removeprefix(': ')}."
        ) from error
