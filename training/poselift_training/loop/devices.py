"""The devices and processes of a run, by way of Lightning Fabric."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import distributed

from poselift.errors import InvalidRecipe
from poselift.networks.cuda_device import set_up_cuda
from poselift_training.loop.checkpoint import checkpoint_path, read_checkpoint
from poselift_training.recipe import Recipe, recipe_from

# Scoring of a large data set on the CPU.
_LONGEST_WORK = timedelta(hours=12)

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
    _check_compiler(recipe)
    precision = _resolve_precision(recipe)
    set_up_cuda()
    fabric = Fabric(accelerator=recipe.accelerator, devices=devices, num_nodes=num_nodes, precision=precision)
    fabric.launch()
    return fabric, replace(recipe, precision=precision)


def in_first_process(fabric: Fabric, work: Callable[[], None]) -> None:
    """Do work in the first process, while the others wait for it, for hours if need be."""
    # Not in NCCL's barrier, which ends the job after ten minutes.
    group = distributed.new_group(backend="gloo", timeout=_LONGEST_WORK) if fabric.world_size > 1 else None
    if fabric.is_global_zero:
        work()
    if group is not None:
        distributed.barrier(group)


def leave() -> None:
    """Leave the group of processes, if there is one; without that, NCCL warns at the end."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


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


def _check_compiler(recipe: Recipe) -> None:
    if (
        recipe.compile
        and _uses_cuda(recipe)
        and not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc"))
    ):
        raise InvalidRecipe("'compile' needs a C compiler for Triton, and none is installed.", path="compile")


def _resolve_precision(recipe: Recipe) -> Precision:
    """The recipe's precision; `auto` is that of the run to be resumed, or else what suits the device."""
    if recipe.precision == "auto" and checkpoint_path(recipe.folder).exists():
        recipe = replace(recipe, precision=recipe_from(read_checkpoint(recipe.folder)["recipe"]).precision)
    if recipe.precision == "auto":
        # Older GPUs emulate bfloat16, which is slower than float32.
        fast = _uses_cuda(recipe) and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if fast else "32-true"
    return recipe.precision
