"""The devices and processes of a run, by way of Lightning Fabric."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.rank_zero import rank_zero_only

from poselift.errors import InvalidRecipe
from poselift_training.loop.checkpoint import checkpoint_path, read_checkpoint
from poselift_training.recipe import Recipe, recipe_from

Precision = Literal["32-true", "bf16-mixed"]


def launch(recipe: Recipe) -> tuple[Fabric, Recipe]:
    """Start the devices that the recipe asks for, or take those that `torchrun` has started.

    Returns:
        The fabric, and the recipe with its precision resolved.
    Raises:
        InvalidRecipe: the machine lacks these devices, or the batch cannot be divided among them.
    """
    devices, num_nodes = recipe.devices, recipe.num_nodes
    if TorchElasticEnvironment.detect():
        devices, num_nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if recipe.batch_size % (devices * num_nodes):
        raise InvalidRecipe(
            f"'batch_size' must be a multiple of the {devices * num_nodes} devices, got {recipe.batch_size}.",
            path="batch_size",
        )
    _check_devices(recipe, devices)
    precision = _resolve_precision(recipe)
    fabric = Fabric(accelerator=recipe.accelerator, devices=devices, num_nodes=num_nodes, precision=precision)
    fabric.launch()
    return fabric, replace(recipe, precision=precision)


def in_first_process(fabric: Fabric, work: Callable[[], None]) -> None:
    """Do work in the first process, while the others wait for it."""
    if fabric.is_global_zero:
        work()
    fabric.barrier()


def print_in_first_process(text: str) -> None:
    """Print to standard output, but only in the first of several processes."""
    rank_zero_only(sys.stdout.write)(text)


def _uses_cuda(recipe: Recipe) -> bool:
    return recipe.accelerator == "cuda" or (recipe.accelerator == "auto" and torch.cuda.is_available())


def _check_devices(recipe: Recipe, devices: int) -> None:
    present = torch.cuda.device_count()
    if _uses_cuda(recipe) and devices > present:
        raise InvalidRecipe(
            f"The recipe asks for {devices} of the machine's CUDA devices, and there are {present or 'none'}.",
            path="accelerator" if present == 0 else "devices",
        )


def _resolve_precision(recipe: Recipe) -> Precision:
    """The recipe's precision; `auto` is that of the run to be resumed, or else what suits the device."""
    if recipe.precision == "auto" and checkpoint_path(recipe.folder).exists():
        recipe = replace(recipe, precision=recipe_from(read_checkpoint(recipe.folder)["recipe"]).precision)
    if recipe.precision == "auto":
        return "bf16-mixed" if _uses_cuda(recipe) else "32-true"
    return recipe.precision
