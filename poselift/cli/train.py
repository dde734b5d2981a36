"""`poselift pretrain` and `poselift finetune`: the two stages of training."""

from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Replace one key.")]
TimeLimit = Annotated[float | None, typer.Option("--time-limit", help="Save and stop cleanly after this many seconds.")]


def pretrain(recipe: Recipe, override: Overrides = None, time_limit: TimeLimit = None) -> None:
    """Stage I: learn to rebuild masked 2D windows. A restarted run continues from its last checkpoint."""
    from poselift_training.pretrain import main as stage

    raise typer.Exit(stage(_stage_arguments(recipe, override, time_limit)))


def finetune(recipe: Recipe, override: Overrides = None, time_limit: TimeLimit = None) -> None:
    """Stage II: learn to lift, and publish an artifact. A restarted run continues from its last checkpoint."""
    from poselift_training.finetune import main as stage

    raise typer.Exit(stage(_stage_arguments(recipe, override, time_limit)))


def _stage_arguments(recipe: str, overrides: list[str] | None, time_limit: float | None) -> list[str]:
    """The command line of a stage, which parses its own arguments because `torchrun` starts it without `poselift`."""
    arguments = [recipe, *(f"--override={override}" for override in overrides or [])]
    return arguments if time_limit is None else [*arguments, f"--time-limit={time_limit}"]
