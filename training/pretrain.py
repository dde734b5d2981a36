"""Stage I, masked pose modelling: hide frames and joints of 2D windows and learn to rebuild them.

    poselift pretrain pstmo-tiny-27-pretrain
    torchrun --nproc_per_node 2 -m training.pretrain pstmo-s-243-h36m-pretrain -o data.root=/data/h36m

A tiny variant that finishes within a minute on a CPU:

    poselift data bvh tests/data/cmu_05_15_cut.bvh --out data/smoke/cmu.npz --unit-m 0.056444 --skip 1
    poselift pretrain smoke-pretrain

The result is the run folder, which a finetune recipe names in `init_from`. Started again, the same command goes on
from the last checkpoint.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from poselift.lifters.pstmo import MaskedPoseModel, draw_masks, masked_pose_loss
from training.command import main as command
from training.config import Recipe
from training.data import Batch
from training.loop import Job, launch, seed_of, train
from training.sources import load_data, total_steps

# Keeps the masks of validation apart from those of every training process.
_VALIDATION_RANK = 2**31


class Reconstruction(nn.Module):
    """Stage I objective: rebuild the clean windows from the given ones, of which a part is hidden."""

    def __init__(self, model: MaskedPoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor, clean: Tensor, hidden_frames: Tensor, hidden_joints: Tensor) -> Tensor:
        """Windows and clean windows [B, N, J, 2], masks bool [N] and [N, J] -> scalar loss."""
        rebuilt: Tensor = self.model(windows, hidden_frames, hidden_joints)
        # Under autocast the network answers in bfloat16; the distance is taken in full precision.
        return masked_pose_loss(rebuilt.float(), self.model.target(clean))


def pretrain(recipe: Recipe, *, time_limit_s: float | None = None) -> Path:
    """Run or continue stage I.

    Returns:
        The run folder.
    Raises:
        InvalidRecipe, InvalidDataset: the recipe cannot be run, or diverged.
        TrainingStopped: a signal or the time limit ended this part of the run.
    """
    fabric, recipe = launch(recipe)
    torch.manual_seed(recipe.seed)
    objective = Reconstruction(MaskedPoseModel(recipe.network))
    data = load_data(recipe, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size)

    def validate() -> dict[str, float]:
        losses = [
            objective(*masked_inputs(recipe, data.validation.batch(number), number, _VALIDATION_RANK))
            for number in range(recipe.validation_batches)
        ]
        return {"reconstruction": float(torch.stack(losses).mean())}

    job = Job(
        objective=objective,
        inputs=lambda step: masked_inputs(recipe, data.training.batch(step), step, fabric.global_rank),
        validate=validate,
        steps=total_steps(recipe, data.training),
        steps_per_epoch=data.training.steps_per_epoch,
    )
    train(fabric, recipe, job, time_limit_s=time_limit_s)
    return recipe.folder


def masked_inputs(recipe: Recipe, batch: Batch, step: int, rank: int) -> tuple[Tensor, ...]:
    """The objective's inputs: a batch and the masks of that step and process."""
    generator = torch.Generator().manual_seed(seed_of(recipe.seed, step, rank))
    masks = draw_masks(recipe.network, recipe.masks.temporal_rate, recipe.masks.joints, generator)
    return (batch.windows, batch.clean, *masks)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("pretrain", pretrain, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
