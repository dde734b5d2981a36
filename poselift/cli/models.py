"""`poselift models`: list, show, verify and copy published models."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poselift.cli.manifest_text import manifest_lines
from poselift.cli.options import DEFAULT_REPOSITORY, Models
from poselift.cli.repository import find_model
from poselift.errors import InvalidArtifact

if TYPE_CHECKING:
    from poselift.lifters.lifter import LifterConfig

app = typer.Typer(help="List, show, verify and copy published models.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(models: Models = DEFAULT_REPOSITORY) -> None:
    """List the models of a repository: name, version and labels."""
    from poselift.artifacts.repository import list_artifacts

    if "://" not in models and not Path(models).is_dir():
        raise InvalidArtifact(f"There is no folder {models}; --models names the folder or the address of a repository.")
    for published in list_artifacts(models):
        typer.echo(f"{published.name}@{published.version}\t{' '.join(published.labels)}".rstrip())


class Preset(enum.StrEnum):
    """The networks of the paper's table 6."""

    S_27 = "s-27"
    S_81 = "s-81"
    S_243 = "s-243"
    FULL_243 = "full-243"


@app.command("show")
def show_model(
    model: Annotated[
        str | None, typer.Argument(help="NAME, NAME@VERSION, NAME@LABEL, or a model's folder or address.")
    ] = None,
    models: Models = DEFAULT_REPOSITORY,
    preset: Annotated[Preset | None, typer.Option(help="A network of the P-STMO paper instead of a model.")] = None,
) -> None:
    """Show the manifest of a model, and its numbers of parameters and operations."""
    if preset is not None:
        _echo_preset(preset)
        return
    from poselift.artifacts.verify import read_manifest
    from poselift.artifacts.weights import check_header
    from poselift.lifters.systems import configure

    location = find_model(models, model)
    manifest = read_manifest(location)
    check_header(location, manifest)
    for line in manifest_lines(manifest):
        typer.echo(line)
    _echo_cost(manifest.system, configure(manifest.system, manifest.network))


def _echo_preset(preset: Preset) -> None:
    from poselift.lifters.official.pstmo import official_parameters
    from poselift.lifters.pstmo.network import STMOConfig

    size, frames = preset.split("-")
    typer.echo(f"P-STMO{'-S' if size == 's' else ''}, {frames} frames")
    config = STMOConfig(frames=int(frames), layers=3 if size == "s" else 4)
    _echo_cost("pstmo", config)
    typer.echo(f"{'':<12}{official_parameters(config) / 1e6:.3f} M in the official network, dead ones included")


def _echo_cost(system: str, config: "LifterConfig") -> None:
    from poselift.lifters.systems import cost, served_cost

    (size, work), served = cost(system, config), served_cost(system, config)
    typer.echo(f"{'parameters':<12}{size.full / 1e6:.3f} M all, {size.counted / 1e6:.3f} M as the paper counts")
    typer.echo(f"{'FLOPs':<12}{work.full / 1e6:.1f} M per window, {work.counted / 1e6:.1f} M as the paper counts")
    if config.sequence_to_sequence:
        typer.echo(
            f"{'':<12}{served.clip_pose / 1e6:.1f} M per pose of a clip, {served.live_frame / 1e6:.1f} M per live frame"
        )


@app.command("verify")
def verify_models(
    model: Annotated[str | None, typer.Argument(help="One model; by default all of the repository.")] = None,
    models: Models = DEFAULT_REPOSITORY,
) -> None:
    """Check manifests, and weights against their digests."""
    from poselift.artifacts.repository import list_artifacts
    from poselift.artifacts.verify import verify

    locations = [find_model(models, model)] if model else [published.location for published in list_artifacts(models)]
    if not locations:
        raise InvalidArtifact(f"There are no models in {models}; --models names another repository.")
    for location in locations:
        manifest = verify(location)
        typer.echo(f"{manifest.name}@{manifest.version} is intact")


@app.command("copy")
def copy_models(
    out: Annotated[Path, typer.Option(help="Model repository to copy to: a folder, created if it is missing.")],
    model: Annotated[list[str] | None, typer.Argument(help="NAME, NAME@VERSION or NAME@LABEL; by default all.")] = None,
    models: Models = DEFAULT_REPOSITORY,
) -> None:
    """Copy versions with their numbers and labels, for example from an object store; intact copies are kept."""
    from poselift.artifacts.local_copy import copy_version
    from poselift.artifacts.repository import list_artifacts, look_up

    everything = [look_up(models, reference) for reference in model] if model else list_artifacts(models)
    if not everything:
        raise InvalidArtifact(f"There are no models in {models}; --models names another repository.")
    for published in everything:
        typer.echo(copy_version(published, out))
