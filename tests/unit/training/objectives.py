"""Batches and checks that the tests of both stages share."""

from pathlib import Path

import torch
from poselift_training.data import Batch
from poselift_training.recipe import Recipe, load_recipe


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    windows = torch.randn(4, 9, 17, 2, generator=generator)
    holes = windows.masked_fill(torch.rand(4, 9, 17, 1, generator=generator) < 0.2, torch.nan)
    return Batch(holes, windows, torch.randn(4, 9, 17, 3, generator=generator))


def recipe(stage: str, system: str, *overrides: str) -> Recipe:
    return load_recipe(Path("smoke"), [f"stage={stage}", f"system={system}", *overrides])


def check_gradients(objective: torch.nn.Module, loss: torch.Tensor) -> None:
    assert loss.shape == ()
    loss.backward()
    without = [name for name, tensor in objective.named_parameters() if tensor.requires_grad and tensor.grad is None]
    assert not without, "devices that train together would wait for these for ever"
    assert all(bool(tensor.grad.isfinite().all()) for tensor in objective.parameters() if tensor.grad is not None)
