"""The objective of stage II: the loss of the recipe's system, and what a recipe may add to it."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from poselift.lifters.constants import indices
from poselift.lifters.lifter import Lifter, Poses
from poselift.lifters.systems import SYSTEMS
from poselift.skeletons import Skeleton, skeleton
from poselift_training.data import Batch
from poselift_training.recipe import Recipe


class Lifting(nn.Module):
    """Stage II objective: the loss of the recipe's system."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.system = SYSTEMS[recipe.system]
        self.bone_length_weight = recipe.bone_length_weight
        self.velocity_weight = recipe.velocity_weight
        self.freeze_batch_norm = recipe.freeze_batch_norm
        assert self.system.loss is not None, "a finetune recipe's system has a loss"
        self._loss: Callable[[Poses, Tensor, Skeleton], Tensor] = self.system.loss
        self.skeleton = skeleton(recipe.publish.output_skeleton)
        self.lifter: Lifter = self.system.network(recipe.network)

    def inputs(self, batch: Batch, seed: int) -> Tensor:
        """The input of the network: the windows of a batch, or its poses with joints hidden."""
        generator = torch.Generator().manual_seed(seed)
        return self.system.network_input(batch.windows, batch.joints, self.skeleton, generator)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules; BatchNorm stays in evaluation mode if the recipe freezes it."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
        return self

    def forward(self, inputs: Tensor, joints: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            inputs: [B, N, J, 2 or 3] from `inputs`.
            joints: [B, N, J, 3] metres.
        Returns:
            A scalar.
        """
        poses = self.lifter(inputs)
        # Under autocast the outputs are bfloat16, whose steps are 4 mm at a metre; distances need full precision.
        outputs = (poses.centre, poses.frames, poses.expected_error)
        full = Poses(*(None if output is None else output.float() for output in outputs))
        loss = self._loss(full, joints, self.skeleton)
        if self.velocity_weight:
            loss = loss + self.velocity_weight * velocity_loss(full.answer[..., :3], joints)
        if not self.bone_length_weight:
            return loss
        target = joints if full.centre is None else joints[:, joints.shape[1] // 2]
        return loss + self.bone_length_weight * bone_length_loss(full.answer[..., :3], target, self.skeleton)


def bone_length_loss(poses: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean absolute error of the bone lengths of poses [..., J, 3]: a scalar, in the unit of the poses.

    Averaging a limb bent towards the camera with one bent away from it makes it too short; this term penalises that.
    """
    children = [joint for joint, parent in enumerate(skeleton.parents) if parent >= 0]
    joints = indices(children, poses.device)
    parents = indices([skeleton.parents[joint] for joint in children], poses.device)

    def lengths(pose: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(pose[..., joints, :] - pose[..., parents, :], dim=-1)
        return norms

    return (lengths(poses) - lengths(target)).abs().mean()


def velocity_loss(poses: Tensor, target: Tensor) -> Tensor:
    """Mean error of the steps from frame to frame of poses [B, N, J, 3]: a scalar, in the unit of the poses.

    A network that follows the jitter of keypoints has large errors here, though its poses are right on average.
    """
    errors: Tensor = torch.linalg.vector_norm(poses.diff(dim=1) - target.diff(dim=1), dim=-1)
    return errors.mean()
