"""What `test_processes` does alone and, started by torchrun, in two processes: train on a shared batch."""

import sys
from pathlib import Path

import torch
from poselift_training.data.sequences import Recording, Sequences, WindowBatches
from poselift_training.loop.devices import launch
from poselift_training.loop.loop import Job, train
from poselift_training.pretrain import pretrain
from poselift_training.recipe import Recipe, load_recipe
from poselift_training.recipe_data import RankShard
from torch import Tensor, nn

from poselift.skeletons import skeleton

BATCH = 16


class Lift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(34, 51)

    def forward(self, windows: Tensor, joints: Tensor) -> Tensor:
        return (self.layer(windows.flatten(-2)) - joints.flatten(-2)).square().mean()


def source(batch_size: int) -> WindowBatches:
    generator = torch.Generator().manual_seed(0)
    keypoints, joints = (torch.randn(96, 17, size, generator=generator).numpy() for size in (2, 3))
    recording = Recording("S1", "Walking", "0", keypoints, joints)
    sequences = Sequences.join([recording], skeleton("h36m17"), unit_m=1.0, frame_rate_hz=50.0)
    return WindowBatches(sequences, frames=9, stride=1, batch_size=batch_size, seed=1)


def share_a_batch(folder: Path) -> None:
    recipe: Recipe = load_recipe(Path("smoke"), [f"runs={folder}", f"batch_size={BATCH}", "accelerator=cpu"])
    fabric, recipe = launch(recipe)
    share = RankShard(source(BATCH // fabric.world_size), fabric.global_rank, fabric.world_size)

    def inputs(step: int) -> tuple[Tensor, ...]:
        batch = share.batch(step)
        return batch.windows, batch.joints

    torch.manual_seed(0)
    objective = Lift()
    train(
        fabric, recipe, Job(objective, inputs, lambda: {"error": 0.0}, steps=20, steps_per_epoch=share.steps_per_epoch)
    )
    torch.save(objective.state_dict(), folder / f"rank{fabric.global_rank}.pt")


def run_stage(folder: Path, mocap: Path) -> None:
    options = (f"runs={folder}", f"data.root={mocap}", 'data.splits=["train"]', "steps=4", "accelerator=cpu")
    pretrain(load_recipe(Path("smoke-pretrain"), options))


if __name__ == "__main__":
    share_a_batch(Path(sys.argv[1]))
    run_stage(Path(sys.argv[1]), Path(sys.argv[2]))
