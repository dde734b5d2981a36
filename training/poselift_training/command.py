"""Arguments and exit codes that `python -m poselift_training.pretrain` and `.finetune` share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from poselift.errors import InvalidRecipe, sentence_about
from poselift_training.loop.devices import leave, print_in_first_process
from poselift_training.loop.stop import TrainingStopped
from poselift_training.recipe import Recipe, load_recipe


class Stage(Protocol):
    """`pretrain` or `finetune`."""

    def __call__(self, recipe: Recipe, *, time_limit_s: float | None = None) -> Path | str: ...


def load_stage(name: Literal["pretrain", "finetune"], path: Path, overrides: Sequence[str]) -> Recipe:
    """Load a recipe and check that it is for this stage.

    Raises:
        InvalidRecipe: the recipe is invalid, or for the other stage.
    """
    recipe = load_recipe(path, overrides)
    if recipe.stage != name:
        raise InvalidRecipe(
            f"{path} is a {recipe.stage} recipe: start it with `poselift {recipe.stage}`.", path="stage"
        )
    return recipe


def run(work: Callable[[], str]) -> int:
    """Do the work and print its result, in the first process only; report a failure in one sentence.

    Returns:
        The exit code: 0, 2 for bad input, 130 for Ctrl-C outside of training, or that of `TrainingStopped`.
    """
    try:
        print_in_first_process(f"{work()}\n")
    except TrainingStopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_code
    except KeyboardInterrupt:  # while data is read or a model is scored; in training a stop saves first
        sys.stderr.write("Stopped. The same command resumes from what has been saved.\n")
        return 130
    except Exception as error:
        if (sentence := sentence_about(error)) is None:
            raise
        sys.stderr.write(f"poselift: {sentence}\n")
        return 2
    finally:
        leave()
    return 0


def main(
    name: Literal["pretrain", "finetune"], stage: Stage, description: str | None, arguments: Sequence[str] | None
) -> int:
    """Parse command line arguments, run a stage, and return the exit code.

    Args:
        arguments: None: those of the process.
    """
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
