"""`poselift evaluate`: score a model, or measure its card."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.cli.import_official import REFINE_FILE
from poselift.cli.options import DEFAULT_REPOSITORY, Models
from poselift.cli.repository import find_model, load_model
from poselift.errors import InvalidArtifact, PoseliftError

if TYPE_CHECKING:
    import torch

    from poselift.lifters.pstmo.refine import RefineModule


class DataSet(enum.StrEnum):
    """Data sets that a lifter can be scored on."""

    H36M = "h36m"
    MPI_INF_3DHP = "3dhp"
    MOCAP = "mocap"


def evaluate(
    model: Annotated[str, typer.Option(help="NAME, NAME@VERSION, NAME@LABEL, or a model's folder or address.")],
    data: Annotated[DataSet, typer.Option(help="Kind of data set.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    models: Models = DEFAULT_REPOSITORY,
    keypoints: Annotated[str, typer.Option(help="Detector whose keypoints to use, for h36m.")] = "cpn_ft_h36m_dbb",
    split: Annotated[str, typer.Option(help="train or test; for mocap also val.")] = "test",
    subject: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Score this person of mocap alone; repeatable.")
    ] = None,
    mirrored_average: Annotated[bool, typer.Option(help="Also average with the mirrored person.")] = True,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also score the mean pose and flat figures.")] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Also refine, which takes the TRUE depth of the pelvis from the data set.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Also hide joints: random ones, and whole limbs.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, or a torch device.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Write the model's card.md instead, with every measurement on mocap; takes longer."
        ),
    ] = False,
    beside: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Another model to compare in the card; repeatable.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A detector's file of a real video to show in the card.")
    ] = None,
) -> None:
    """Score a model on data with known poses, under the protocols of the papers."""
    from poselift_training.evaluation.evaluate import evaluate as score
    from poselift_training.evaluation.report import print_report

    from poselift.artifacts.artifact import load_artifact
    from poselift.artifacts.local_copy import local_folder

    if report:
        if data is not DataSet.MOCAP:
            raise PoseliftError("A card is measured on motion capture: --report needs --data mocap.", path="report")
        typer.echo(_write_card(models, model, beside or [], root=root, split=split, clip=clip, device=_device(device)))
        return
    if beside or clip:
        raise PoseliftError("--beside and --clip are for a card, so they need --report.", path="report")
    if subject and data is not DataSet.MOCAP:
        raise PoseliftError("People can be chosen of motion capture: --subject needs --data mocap.", path="subject")
    folder = local_folder(find_model(models, model))
    scored = score(
        load_artifact(folder),
        data=data.value,
        root=root,
        keypoints=keypoints,
        split=split,
        subjects=subject or (),
        mirrored_average=mirrored_average,
        baselines=baselines,
        refine=_refine_module(folder) if refine else None,
        missing=missing,
        device=_device(device),
    )
    print_report(scored, as_json=json)


def _write_card(
    models: str, model: str, beside: list[str], *, root: Path, split: str, clip: Path | None, device: "torch.device"
) -> Path:
    from poselift_training.cards.measure import measure_card, write_card

    from poselift.artifacts.artifact import load_artifact
    from poselift.artifacts.local_copy import local_folder

    location = find_model(models, model)
    if "://" in str(location) and not str(location).startswith("file://"):
        raise InvalidArtifact(f"{location} is no folder: a card is written beside an artifact in a folder.")
    artifact, others = load_artifact(location), [load_model(models, other) for other in beside]
    card = measure_card(artifact, root=root, split=split, beside=others, clip=clip, device=device)
    return write_card(local_folder(location), card)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        raise PoseliftError(
            f"There is no device {name!r} on this machine; leave --device out to use what there is.", path="device"
        ) from error
    return torch.device(name)


def _refine_module(folder: Path) -> "RefineModule":
    """The refine module that `poselift import` has stored beside an artifact."""
    import safetensors.torch

    from poselift.artifacts.verify import read_manifest
    from poselift.lifters.pstmo.refine import RefineModule

    file = folder / REFINE_FILE
    if not file.is_file():
        raise InvalidArtifact(f"{folder} has no refine module; `poselift import pstmo --refine` puts one there.")
    manifest = read_manifest(folder)
    module = RefineModule(manifest.target.n_joints)
    try:
        module.load_state_dict(safetensors.torch.load_file(file))
    except Exception as error:  # safetensors and torch raise several unrelated kinds for a file that does not fit
        raise InvalidArtifact(f"{file} is no refine module for {manifest.target.name}.") from error
    return module
