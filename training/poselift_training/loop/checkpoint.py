"""Checkpoints: the resumable state of a run, in one file of its folder. They are never served."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poselift.errors import InvalidRecipe
from poselift_training.recipe import DataSource, Recipe, flat, recipe_from

CHECKPOINT_FORMAT = 1

# These keys may change when a run is resumed: they say how it runs, not what it learns, but for those that follow.
FREE_KEYS = frozenset(
    "data.root data.also merge publish runs accelerator devices num_nodes "
    "log_every_steps checkpoint_every_s validate_every_steps validation_batches".split()
)
_LEARNT = frozenset({"publish.input_skeleton", "publish.output_skeleton", "publish.smoothed"})


def checkpoint_path(folder: Path) -> Path:
    return folder / "checkpoint.pt"


def read_checkpoint(folder: Path, *, key: str | None = None) -> dict[str, Any]:
    """Read the checkpoint of a run folder.

    Args:
        key: of the recipe that names another run's folder; None for the folder of the recipe's own run.
    Returns:
        The keys format, recipe, step, steps, objective, optimiser, average and data; tensors on the CPU. Older
        checkpoints lack average and data.
    Raises:
        InvalidRecipe: there is no checkpoint, it is broken, or another version of the code wrote it.
    """
    path = checkpoint_path(folder)
    advice = (
        "delete its folder to start again" if key is None else f"set '{key}' to another run folder or published model"
    )
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidRecipe(f"{folder} is no run folder, it holds no {path.name}: {advice}.", path=key) from error
    except OSError:
        raise
    except Exception as error:  # a broken pickle fails in more ways than can be listed
        raise InvalidRecipe(f"{path} is not a checkpoint, or a broken one: {advice}.", path=key) from error
    if not isinstance(state, dict):
        raise InvalidRecipe(f"{path} is not a checkpoint, or a broken one: {advice}.", path=key)
    if state.get("format") != CHECKPOINT_FORMAT:
        raise InvalidRecipe(
            f"{path} has checkpoint format {state.get('format')}; this code reads format "
            f"{CHECKPOINT_FORMAT}: {advice}.",
            path=key,
        )
    return state


def ema_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that a run would publish if it ended at this checkpoint.

    Returns:
        The exponential moving average of the objective's weights if the run keeps one, else the last weights.
    """
    average = checkpoint.get("average")
    if average is None:
        return dict(checkpoint["objective"])
    return {name.removeprefix("module."): tensor for name, tensor in average.items() if name != "n_averaged"}


def sources_in(checkpoint: Mapping[str, Any]) -> tuple[DataSource, ...]:
    """The training data behind a checkpoint; empty for older ones, which do not record it."""
    return tuple(DataSource(source, licence) for source, licence in checkpoint.get("data", ()))


def atomic_save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash at any moment leaves either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def check_same_recipe(stored: Mapping[str, Any], recipe: Recipe) -> None:
    """Check that a run may be resumed with this recipe.

    Args:
        stored: the recipe in the checkpoint.
    Raises:
        InvalidRecipe: naming the first key that differs and may not.
    """
    # Parsed again, so that keys that are younger than the checkpoint take their defaults.
    there, here = flat(recipe_from(dict(stored)).as_dict()), flat(recipe.as_dict())
    # Networks with one pose for a window learn from single frames either way.
    learnt = _LEARNT if recipe.network.sequence_to_sequence else _LEARNT - {"publish.smoothed"}
    for key in sorted(there.keys() | here.keys()):
        is_free = (key.split(".")[0] in FREE_KEYS or key in FREE_KEYS) and key not in learnt
        if not is_free and there.get(key) != here.get(key):
            raise InvalidRecipe(
                f"{recipe.folder} holds a run with another '{key}' ({there.get(key)} there, {here.get(key)} here): "
                "choose another name for this run, or delete that folder.",
                path=key,
            )
