"""Arguments and exit codes that `python -m poselift_training.pretrain` and `.finetune` share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from lightning_fabric.utilities.rank_zero import rank_zero_only

from poselift.errors import InvalidRecipe, PoseliftError
from poselift_training.loop.loop import TrainingStopped
from poselift_training.recipe import Recipe, load_recipe


class Stage(Protocol):
    """`pretrain` or `finetune`."""

    def __call__(self, recipe: Recipe, *, time_limit_s: float | None = None) -> Path | str: ...


def load_stage(name: Literal["pretrain", "finetune"], path: Path, overrides: Sequence[str]) -> Recipe:
    """Load a recipe that belongs to a stage.

    Raises:
        InvalidRecipe: also when it belongs to the other one.
    """
    recipe = load_recipe(path, overrides)
    if recipe.stage != name:
        raise InvalidRecipe(
            f"{path} is a {recipe.stage} recipe: start it with `poselift {recipe.stage}`.", path="stage"
        )
    return recipe


def run(report: Callable[[], str]) -> int:
    """Do the work, print its last line, and turn its failures into one sentence and an exit code: 2 for bad input.

    Of several processes only the first one prints that line.
    """
    try:
        rank_zero_only(sys.stdout.write)(f"{report()}\n")
    except TrainingStopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_code
    except KeyboardInterrupt:  # while data is read or a model is scored; in training a stop saves first
        sys.stderr.write("Stopped. The same command goes on from what has been saved.\n")
        return 130
    except PoseliftError as error:
        sys.stderr.write(f"poselift: {error.message}\n")
        return 2
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        sys.stderr.write(f"poselift: {error.filename}: {error.strerror}.\n")
        return 2
    return 0


def main(
    name: Literal["pretrain", "finetune"], stage: Stage, description: str | None, arguments: Sequence[str] | None
) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a TOML file, or the name of a shipped recipe")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="replace one key of the recipe"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="save and stop cleanly after this long (exit code 0)"
    )
    options = parser.parse_args(arguments)

    def work() -> str:
        return str(stage(load_stage(name, options.recipe, options.override), time_limit_s=options.time_limit))

    return run(work)
