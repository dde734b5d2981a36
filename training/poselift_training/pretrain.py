"""Stage I, masked pose modelling: hide frames and joints of windows and learn to reconstruct them.

The system decides what is reconstructed: P-STMO windows of keypoints, MPM windows of keypoints and of 3D poses.

    poselift pretrain pstmo-tiny-27-pretrain
    torchrun --nproc_per_node 2 -m poselift_training.pretrain pstmo-s-243-h36m-pretrain -o data.root=/data/h36m

A tiny variant that finishes within a minute on a CPU:

    poselift data bvh tests/data/cmu_05_15_cut.bvh --out data/smoke/cmu.npz --unit-m 0.056444 --skip 1
    poselift pretrain smoke-pretrain

The result is the run folder, which a finetune recipe names in `init_from`. Started again, the same command resumes
from the last checkpoint.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from poselift.lifters.lifter import MaskedModel
from poselift.lifters.systems import SYSTEMS
from poselift_training.command import main as command
from poselift_training.data import Batch
from poselift_training.loop.devices import launch
from poselift_training.loop.loop import Job, train
from poselift_training.loop.seeds import step_seed
from poselift_training.recipe import Recipe
from poselift_training.recipe_data import data_sources, load_data, total_steps

# A rank that no training process has, so that validation draws masks of its own.
_VALIDATION_RANK = 2**31


class Reconstruction(nn.Module):
    """Stage I objective: reconstruct the clean windows from the observed ones, of which a part is hidden."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        masked = SYSTEMS[recipe.system].masked
        assert masked is not None, "a pretrain recipe's system has a masked network"
        self.model: MaskedModel = masked(recipe.network)
        self._lift = recipe.masks.lift

    def forward(self, windows: Tensor, clean: Tensor, joints: Tensor, *masks: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            windows, clean: [B, N, J, 2] screen coordinates.
            joints: [B, N, J, 3] relative to the root.
            masks: those that the network itself draws.
        Returns:
            A scalar.
        """
        return self.model.loss(windows, clean, joints, masks, self._lift)

    def inputs(self, recipe: Recipe, batch: Batch, step: int, rank: int) -> tuple[Tensor, ...]:
        """Combine a batch with the masks of that step and process, as the arguments of `forward`."""
        generator = torch.Generator().manual_seed(step_seed(recipe.seed, step, rank))
        masks = self.model.draw_masks(recipe.masks.temporal_rate, recipe.masks.joints, generator)
        return batch.windows, batch.clean, batch.joints, *masks


def pretrain(recipe: Recipe, *, time_limit_s: float | None = None) -> Path:
    """Run or resume stage I.

    Returns:
        The run folder.
    Raises:
        InvalidRecipe, InvalidDataset: the recipe cannot be run, or diverged.
        TrainingStopped: a signal or the time limit ended this part of the run.
    """
    fabric, recipe = launch(recipe)
    torch.manual_seed(recipe.seed)
    objective = Reconstruction(recipe)
    data = load_data(recipe, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size)

    def validate() -> dict[str, float]:
        losses = [
            objective(*objective.inputs(recipe, data.validation.batch(number), number, _VALIDATION_RANK))
            for number in range(recipe.validation_batches)
        ]
        return {"reconstruction": float(torch.stack(losses).mean())}

    job = Job(
        objective=objective,
        inputs=lambda step: objective.inputs(recipe, data.training.batch(step), step, fabric.global_rank),
        validate=validate,
        steps=total_steps(recipe, data.training),
        steps_per_epoch=data.training.steps_per_epoch,
        sources=data_sources(recipe.publish, data),
    )
    train(fabric, recipe, job, time_limit_s=time_limit_s)
    return recipe.folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m poselift_training.pretrain` and return its exit code."""
    return command("pretrain", pretrain, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
