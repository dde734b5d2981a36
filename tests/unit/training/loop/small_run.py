"""A small network and its runs, which the tests of the training loop share."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from poselift_training.loop.loop import Job, train
from poselift_training.recipe import Recipe, load_recipe
from torch import Tensor, nn


class Regression(nn.Module):
    """A small network with everything a resumed run could get wrong: dropout, BatchNorm statistics, Adam moments."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.layers(x) - y).abs().mean()


def inputs(step: int) -> tuple[Tensor, ...]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return x, x.sum(dim=1, keepdim=True)


def recipe_in(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(Path("smoke"), [f"runs={folder}", "log_every_steps=5", "validate_every_steps=20", *overrides])


def job(steps: int = 40, **changes: Any) -> Job:
    torch.manual_seed(0)
    objective = Regression()
    settings: dict[str, Any] = {
        "objective": objective,
        "inputs": inputs,
        "validate": lambda: {"error": float(objective(*inputs(10_000)))},
        "steps": steps,
        "steps_per_epoch": 10,
    }
    return Job(**settings | changes)


def run(recipe: Recipe, work: Job, time_limit_s: float | None = None) -> None:
    train(Fabric(accelerator="cpu", devices=1), recipe, work, time_limit_s=time_limit_s)


def interrupted_at(step: int, how: Any) -> Any:
    def inputs_until(at: int) -> tuple[Tensor, ...]:
        if at == step:
            how()
        return inputs(at)

    return inputs_until


def losses(recipe: Recipe) -> list[float]:
    lines = [json.loads(line) for line in (recipe.folder / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def same_state(one: Job, other: Job) -> bool:
    pairs = zip(one.objective.state_dict().values(), other.objective.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
