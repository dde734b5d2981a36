"""The whole command: every group of commands under one name."""

from typing import Annotated

import typer

from poselift.cli import data, import_official, keys, models
from poselift.cli.evaluate import evaluate
from poselift.cli.exits import PoseliftGroup
from poselift.cli.lift import complete, lift
from poselift.cli.refine import refine
from poselift.cli.serve import serve
from poselift.cli.train import finetune, pretrain
from poselift.cli.view import view

app = typer.Typer(
    cls=PoseliftGroup,
    help="Lift 2D keypoint sequences to 3D human poses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(requested: bool) -> None:
    if requested:
        from poselift import __version__

        typer.echo(f"poselift {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Lift 2D keypoint sequences to 3D human poses."""


for _command in (serve, lift, refine, view, complete, pretrain, finetune, evaluate):
    app.command()(_command)
app.add_typer(import_official.app, name="import")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command that the arguments of this process name."""
    app(prog_name="poselift")
