"""The `poselift` command: it puts the packages together and does nothing that they do not do without it.

Everything slow is imported by the command that needs it, so that `poselift --help` answers at once.
"""

import enum
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poselift.artifacts.default_repository import default_repository
from poselift.errors import InvalidArtifact, InvalidFile, PoseliftError

if TYPE_CHECKING:
    import torch

    from poselift.artifacts.artifact import Artifact
    from poselift.artifacts.files import Location
    from poselift.artifacts.manifest import Manifest
    from poselift.lifters.lifter import Lifter, LifterConfig
    from poselift.lifters.pstmo.refine import RefineModule

BAD_INPUT = 2
INTERRUPTED = 130
REPOSITORY = ""  # stands for the default repository
REFINE_FILE = "refine.safetensors"


class Commands(typer.core.TyperGroup):
    """Ends what a caller got wrong in one sentence and exit code 2, and Ctrl-C in a word; never in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PoseliftError as error:
            raise _exit(error.message, BAD_INPUT) from error
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise
            raise _exit(f"{error.filename}: {error.strerror}.", BAD_INPUT) from error
        except KeyboardInterrupt as error:
            raise _exit("stopped.", INTERRUPTED) from error


def _exit(sentence: str, code: int) -> typer.Exit:
    typer.echo(f"poselift: {sentence}", err=True)
    return typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    help="Lift 2D keypoint sequences to 3D human poses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
import_app = typer.Typer(help="Turn official checkpoints into artifacts.", no_args_is_help=True, rich_markup_mode=None)
models_app = typer.Typer(help="Look at published artifacts.", no_args_is_help=True, rich_markup_mode=None)
data_app = typer.Typer(help="Prepare training data.", no_args_is_help=True, rich_markup_mode=None)
keys_app = typer.Typer(help="Make keys for a server that asks for them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(keys_app, name="keys")


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
Recipe = Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Replace one key.")]
TimeLimit = Annotated[float | None, typer.Option("--time-limit", help="Save and stop cleanly after so many seconds.")]


class Size(str):
    """`1920x1080`: width and height in pixels."""

    @property
    def px(self) -> tuple[float, float]:
        width, height = self.split("x")
        return float(width), float(height)


def _size(text: str) -> Size:
    if not re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", text):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 1920x1080.")
    return Size(text)


@app.command()
def serve(
    models: Annotated[
        str | None, typer.Option("--models", help="Model repository: a folder or an address like s3://bucket/prefix.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP interface.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of the gRPC interface; 0 for none.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the metrics; 0 for none.")] = None,
) -> None:
    """Start the server. What is not given comes from the environment (POSELIFT_PORT and so on), or is the default."""
    try:
        from poselift_service.__main__ import main as run
    except ModuleNotFoundError as error:
        raise PoseliftError(
            f"The server needs {error.name}, which is not installed; pip install 'poselift[serve]' brings it."
        ) from error

    given = {"models": models, "host": host, "port": port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    raise typer.Exit(run(**{name: value for name, value in given.items() if value is not None}))


@app.command()
def lift(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A detector's file, or a folder of OpenPose files.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json or .npz file; else JSON to stdout.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="NAME, NAME@VERSION, NAME@LABEL or an artifact's place.")] = None,
    models: Models = REPOSITORY,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton of the keypoints, where the file does not tell.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate, likewise.", min=0.001)] = None,
    image_size: Annotated[
        Size | None, typer.Option(parser=_size, metavar="WxH", help="Picture size, likewise.")
    ] = None,
    mirrored_average: Annotated[
        bool,
        typer.Option("--mirrored-average", help="Average with the mirrored person: a little better, half as fast."),
    ] = False,
) -> None:
    """Lift the keypoints of a file: the numbers that the server would answer with."""
    if output is not None and output.suffix not in (".json", ".npz"):
        raise InvalidFile(f"{output}: poses are written as .json or .npz.")
    from poselift import lifting
    from poselift.formats.readers.keypoint_file import read_keypoints
    from poselift.formats.writers.npz import write_npz
    from poselift.formats.writers.poses import LiftedTrack, dump_json

    tracks = read_keypoints(source, skeleton=skeleton, fps=fps, image_size=image_size.px if image_size else None)
    if first := tracks[0].first_frame:
        typer.echo(f"poselift: {source} starts with frame {first}; so do the poses.", err=True)
    artifact = _load(models, model)
    lifted = [
        LiftedTrack(
            track.track_id,
            lifting.lift(artifact, track.sequence, mirrored_average=mirrored_average),
            track.first_frame,
        )
        for track in tracks
    ]
    if output is None:
        sys.stdout.write(dump_json(artifact.manifest, lifted))
    elif output.suffix == ".json":
        output.write_text(dump_json(artifact.manifest, lifted), encoding="utf-8")
    else:
        write_npz(output, artifact.manifest, lifted)


@app.command()
def pretrain(recipe: Recipe, override: Overrides = None, time_limit: TimeLimit = None) -> None:
    """Stage I: learn to rebuild masked 2D windows. Started again, it goes on from its last checkpoint."""
    from poselift_training.pretrain import main as stage

    raise typer.Exit(stage(_stage_arguments(recipe, override, time_limit)))


@app.command()
def finetune(recipe: Recipe, override: Overrides = None, time_limit: TimeLimit = None) -> None:
    """Stage II: learn to lift, and publish an artifact. Started again, it goes on from its last checkpoint."""
    from poselift_training.finetune import main as stage

    raise typer.Exit(stage(_stage_arguments(recipe, override, time_limit)))


def _stage_arguments(recipe: str, overrides: list[str] | None, time_limit: float | None) -> list[str]:
    """The stages read their own arguments, because `torchrun` starts them without this command."""
    arguments = [recipe, *(f"--override={override}" for override in overrides or [])]
    return arguments if time_limit is None else [*arguments, f"--time-limit={time_limit}"]


class DataSet(enum.StrEnum):
    """What a lifter can be scored on."""

    H36M = "h36m"
    MPI_INF_3DHP = "3dhp"
    MOCAP = "mocap"


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="NAME, NAME@VERSION, NAME@LABEL or an artifact's place.")],
    data: Annotated[DataSet, typer.Option(help="Form of the data set.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    models: Models = REPOSITORY,
    keypoints: Annotated[str, typer.Option(help="Whose detections to take, for h36m.")] = "cpn_ft_h36m_dbb",
    split: Annotated[str, typer.Option(help="train or test, for mocap also val.")] = "test",
    mirrored_average: Annotated[bool, typer.Option(help="Also average with the mirrored person.")] = True,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also score the mean pose and flat figures.")] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Also refine, which takes the TRUE depth of the pelvis from the data set.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Also hide joints, at random and whole limbs.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, or as torch names it.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write the model's card.md instead, with all that mocap can show; takes longer."),
    ] = False,
    beside: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Another model to stand in the card; repeatable.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A detector's file of a real video, to be shown in the card.")
    ] = None,
) -> None:
    """Score a model on data with known poses, under the protocols of the papers."""
    from poselift_training.evaluation.evaluate import evaluate as score
    from poselift_training.evaluation.report import show

    from poselift.artifacts.artifact import load_artifact
    from poselift.artifacts.local_copy import local_folder

    if report:
        if data is not DataSet.MOCAP:
            raise PoseliftError("A card is measured on motion capture: --report needs --data mocap.", path="report")
        typer.echo(_write_card(models, model, beside or [], root=root, split=split, clip=clip, device=_device(device)))
        return
    if beside or clip:
        raise PoseliftError("--beside and --clip are for a card, so they need --report.", path="report")
    folder = local_folder(_find(models, model))
    scored = score(
        load_artifact(folder),
        data=data.value,
        root=root,
        keypoints=keypoints,
        split=split,
        mirrored_average=mirrored_average,
        baselines=baselines,
        refine=_refine_module(folder) if refine else None,
        missing=missing,
        device=_device(device),
    )
    show(scored, as_json=json)


def _write_card(
    models: str, model: str, beside: list[str], *, root: Path, split: str, clip: Path | None, device: "torch.device"
) -> Path:
    try:
        from poselift_training.cards.measure import measure_card, write_card
    except ModuleNotFoundError as error:
        raise PoseliftError(
            f"A card needs {error.name}, which is not installed; pip install 'poselift[training]' brings it."
        ) from error
    from poselift.artifacts.artifact import load_artifact
    from poselift.artifacts.local_copy import local_folder

    place = _find(models, model)
    if "://" in str(place) and not str(place).startswith("file://"):
        raise InvalidArtifact(f"{place} is no folder: a card is written beside an artifact in a folder.")
    artifact, others = load_artifact(place), [_load(models, other) for other in beside]
    card = measure_card(artifact, root=root, split=split, beside=others, clip=clip, device=device)
    return write_card(local_folder(place), card)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA answers with an assertion
        raise PoseliftError(f"There is no device {name!r} on this machine.", path="device") from error
    return torch.device(name)


def _refine_module(folder: Path) -> "RefineModule":
    """The refine module that `import` has put beside an artifact."""
    import safetensors.torch

    from poselift.artifacts.verify import read_manifest
    from poselift.lifters.pstmo.refine import RefineModule

    file = folder / REFINE_FILE
    if not file.is_file():
        raise InvalidArtifact(f"{folder} has no refine module; `poselift import pstmo --refine` puts one there.")
    module = RefineModule(read_manifest(folder).target.n_joints)
    module.load_state_dict(safetensors.torch.load_file(file))
    return module


Checkpoint = Annotated[Path, typer.Argument(metavar="FILE", help="An official checkpoint.")]
Out = Annotated[str, typer.Option(help="Model repository to publish in: a folder or an address.")]
ArtifactName = Annotated[str | None, typer.Option(help="Name of the artifact; by default SYSTEM-official-FRAMES.")]
FrameRate = Annotated[float, typer.Option(help="Frame rate it was trained at.", min=0.001)]
Stride = Annotated[int, typer.Option(help="Frames between two of its window.", min=1)]
InputSkeleton = Annotated[str, typer.Option(help="Skeleton of the keypoints it was trained on.")]
OutputSkeleton = Annotated[str, typer.Option(help="Skeleton of its poses.")]
Unit = Annotated[float, typer.Option(help="Metres per unit of its output; 0.001 for MPI-INF-3DHP.")]
Screen = Annotated[
    Size | None,
    typer.Option(parser=_size, metavar="WxH", help="Picture size it normalises with, if not that of the video."),
]


@import_app.command("pstmo")
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
    beside = {}
    if refinement is not None:
        import safetensors.torch

        # Not among the artifact's own files: it needs the true depth of the pelvis, so only an evaluation can use it.
        beside[REFINE_FILE] = safetensors.torch.save(refinement.state_dict())
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
        beside=beside,
    )
    typer.echo(published)


@import_app.command("mixste")
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


@import_app.command("mpm")
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
    screen: Size | None,
    checkpoint: Path,
    beside: Mapping[str, bytes] = {},
    **fields: Any,
) -> str:
    """Publish what was imported, once its joints are those of the skeletons.

    Raises:
        InvalidArtifact: they are not, or another field is wrong.
    """
    from poselift.artifacts.publish import publish

    draft = _draft(
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
    return publish(out, draft, lifter, beside=beside)


def _draft(**fields: Any) -> "Manifest":
    from pydantic import ValidationError

    from poselift.artifacts.manifest import Manifest

    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidArtifact(
            f"This cannot be published: {field} {first['msg']}.".replace(" Value error,", "")
        ) from error


@models_app.command("list")
def list_models(models: Models = REPOSITORY) -> None:
    """List a repository: name, version and labels."""
    from poselift.artifacts.repository import list_artifacts

    if "://" not in models and not Path(models).is_dir():
        raise InvalidArtifact(f"There is no folder {models}.")
    for published in list_artifacts(models):
        typer.echo(f"{published.name}@{published.version}\t{' '.join(published.labels)}".rstrip())


class Preset(enum.StrEnum):
    """The networks of the paper's table 6."""

    S_27 = "s-27"
    S_81 = "s-81"
    S_243 = "s-243"
    FULL_243 = "full-243"


@models_app.command("show")
def show_model(
    model: Annotated[str | None, typer.Argument(help="NAME, NAME@VERSION, NAME@LABEL or an artifact's place.")] = None,
    models: Models = REPOSITORY,
    preset: Annotated[Preset | None, typer.Option(help="A network of the paper instead of an artifact.")] = None,
) -> None:
    """Show what a model is, and what it costs."""
    from poselift.lifters.official.pstmo import official_parameters
    from poselift.lifters.pstmo.network import STMOConfig

    if preset is not None:
        size, frames = preset.split("-")
        typer.echo(f"P-STMO{'-S' if size == 's' else ''}, {frames} frames")
        config = STMOConfig(frames=int(frames), layers=3 if size == "s" else 4)
        _echo_cost("pstmo", config)
        typer.echo(f"{'':<12}{official_parameters(config) / 1e6:.3f} M in the official network, dead ones included")
        return
    from poselift.artifacts.verify import read_manifest
    from poselift.lifters import systems

    manifest = read_manifest(_find(models, model))
    _echo_manifest(manifest)
    _echo_cost(manifest.system, systems.configure(manifest.system, manifest.network))


def _echo_manifest(manifest: "Manifest") -> None:
    seconds = (manifest.network["frames"] - 1) * manifest.temporal_stride / manifest.frame_rate_hz
    smoothed = ", smoothed" if manifest.smoothed else ""
    rows = {
        "model": f"{manifest.name}@{manifest.version} ({manifest.system})",
        "weights": f"sha256 {manifest.weights_sha256}",
        "input": f"{manifest.input_skeleton}, scores from {manifest.score_threshold:g}",
        "output": manifest.output_skeleton,
        "window": f"{manifest.network['frames']} frames over {seconds:.2f} s{smoothed}",
        "network": ", ".join(f"{key} {value}" for key, value in manifest.network.items()),
        "data": "; ".join(f"{data.source} ({data.licence})" for data in manifest.data),
        "attribution": manifest.attribution,
        "code": manifest.code_revision,
    }
    for title, text in rows.items():
        typer.echo(f"{title:<12}{text}".rstrip())
    for score in manifest.scores:
        typer.echo(f"{'score':<12}{', '.join(f'{key} {value}' for key, value in score.items())}")


def _echo_cost(system: str, config: "LifterConfig") -> None:
    from poselift.lifters import systems

    size, work = systems.cost(system, config)
    typer.echo(f"{'parameters':<12}{size.full / 1e6:.3f} M all, {size.counted / 1e6:.3f} M as the paper counts")
    typer.echo(f"{'FLOPs':<12}{work.full / 1e6:.1f} M per window, {work.counted / 1e6:.1f} M as the paper counts")
    if config.sequence_to_sequence:
        typer.echo(f"{'':<12}{work.full / config.frames / 1e6:.1f} M per pose where windows do not overlap")


@models_app.command("verify")
def verify_models(
    model: Annotated[str | None, typer.Argument(help="One model; by default all of the repository.")] = None,
    models: Models = REPOSITORY,
) -> None:
    """Check manifests, and weights against their digests."""
    from poselift.artifacts.repository import list_artifacts
    from poselift.artifacts.verify import verify

    places = [_find(models, model)] if model else [published.place for published in list_artifacts(models)]
    if not places:
        raise InvalidArtifact(f"There are no models in {models}.")
    for place in places:
        manifest = verify(place)
        typer.echo(f"{manifest.name}@{manifest.version} is intact")


@models_app.command("copy")
def copy_models(
    out: Annotated[Path, typer.Option(help="Folder that is a model repository, or becomes one.")],
    model: Annotated[list[str] | None, typer.Argument(help="NAME, NAME@VERSION or NAME@LABEL; by default all.")] = None,
    models: Models = REPOSITORY,
) -> None:
    """Copy versions with their numbers and labels, from an object store for instance; what is there is left alone."""
    from poselift.artifacts.local_copy import copy_version
    from poselift.artifacts.repository import list_artifacts, look_up

    everything = [look_up(models, reference) for reference in model] if model else list_artifacts(models)
    if not everything:
        raise InvalidArtifact(f"There are no models in {models}.")
    for published in everything:
        typer.echo(copy_version(published, out))


def _find(models: str, reference: str | None) -> "Location":
    """The place of an artifact that is named, or of the one that the name means where a repository has a single name.

    Raises:
        InvalidArtifact: there is none, or it is not said which.
    """
    from poselift.artifacts.manifest import MANIFEST_FILE
    from poselift.artifacts.repository import list_artifacts, look_up

    if reference is not None and ("://" in reference or (Path(reference) / MANIFEST_FILE).is_file()):
        return reference
    if reference is None:
        names = sorted({published.name for published in list_artifacts(models)})
        if len(names) != 1:
            raise InvalidArtifact(f"Say which model of {models} you mean; there are: {', '.join(names) or 'none'}.")
        reference = names[0]
    return look_up(models, reference).place


def _load(models: str, reference: str | None) -> "Artifact":
    from poselift.artifacts.artifact import load_artifact

    return load_artifact(_find(models, reference))


class Split(enum.StrEnum):
    """What a clip is for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@data_app.command("bvh")
def convert_bvh(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="BVH files with MotionBuilder joint names, y up.")
    ],
    out: Annotated[Path, typer.Option(help="The .npz to write; index.json beside it is extended.")],
    unit_m: Annotated[float, typer.Option(help="Metres per unit; 0.056444 for cgspeed's CMU files.", min=1e-6)] = 0.01,
    subject: Annotated[str, typer.Option(help="Who is recorded.")] = "01",
    split: Annotated[Split, typer.Option(help="What they are for.")] = Split.TRAIN,
    source: Annotated[str, typer.Option(help="Where the files come from.")] = "own",
    licence: Annotated[str, typer.Option(help="Under which terms.")] = "own",
    skip: Annotated[int, typer.Option(help="Frames to drop at the start, such as a T-pose.", min=0)] = 0,
) -> None:
    """Turn BVH recordings into clips that `pretrain` and `finetune` read."""
    from poselift_training.data.bvh import on_the_floor, read_bvh, resample, seventeen_joints
    from poselift_training.data.clips import FRAME_RATE_HZ, Clip, write_clips

    if out.suffix != ".npz":
        raise InvalidFile(f"{out}: clips are written as .npz.")
    clips = []
    for file in files:
        motion = read_bvh(file)
        if motion.n_frames <= skip:
            raise InvalidFile(f"{file} has only {motion.n_frames} frames, and {skip} are to be dropped.")
        with _named(file):
            joints = on_the_floor(seventeen_joints(resample(motion.after(skip), FRAME_RATE_HZ), unit_m))
        clips.append(Clip(file.stem, subject, joints, split.value, source, licence, action=file.stem))
    write_clips(out, clips)
    typer.echo(f"{out}: {len(clips)} clips, {sum(len(clip.joints) for clip in clips)} frames")


@keys_app.command("new")
def new_key(name: Annotated[str, typer.Argument(help="Whose key it is; the server's log tells it.")]) -> None:
    """Make a key, which is shown this once, and the line for the file that POSELIFT_API_KEYS_FILE names."""
    from poselift_service.transport.keys import InvalidKeys
    from poselift_service.transport.keys import new_key as make_key

    try:
        key, stored = make_key(name)
    except InvalidKeys as error:
        raise _exit(str(error), BAD_INPUT) from error
    typer.echo(f"Key for {name}, not to be seen again: {key}\nLine for the file of keys: {stored.line}")


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Put the file before what is wrong with its content."""
    try:
        yield
    except PoseliftError as error:
        raise type(error)(f"{file}: {error.message}", path=error.path) from error


def main() -> None:
    app(prog_name="poselift")


if __name__ == "__main__":
    main()
