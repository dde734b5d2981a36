"""The objective of stage II: the loss of the recipe's system, and what a recipe may add to it."""

from collections.abc import Callable
from typing import Self, cast

import torch
from torch import Tensor, nn

from poselift.lifters.constants import indices
from poselift.lifters.lifter import Lifter, Poses, TargetLifter
from poselift.lifters.systems import SYSTEMS
from poselift.live_samples import live_distances
from poselift.skeletons import Skeleton, skeleton
from poselift_training.data import Batch
from poselift_training.recipe import Recipe

# Of the live windows of a batch, how many end with their target or one sample behind it, the others somewhere up to
# half a window behind it; and how many belong to streams that have just begun.
_LITTLE_AHEAD = 0.7
_JUST_BEGUN = 0.3


class Lifting(nn.Module):
    """Stage II objective: the loss of the recipe's system."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.system = SYSTEMS[recipe.system]
        self.bone_length_weight = recipe.bone_length_weight
        self.velocity_weight = recipe.velocity_weight
        self.live_weight = recipe.live_weight
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
            inputs: [B, N, J, 2 or 3] from `inputs`; with a weight of live frames also [B, P + N, J, 2], with the
                frames before each window.
            joints: [B, N, J, 3] or [B, P + N, J, 3] metres.
        Returns:
            A scalar.
        """
        if not self.live_weight:
            return self._loss_of_windows(self.lifter(inputs), joints)
        embedded, frames = self.lifter.embed(inputs), self.lifter.config.frames
        loss = self._loss_of_windows(self.lifter.aggregate(embedded[:, -frames:]), joints[:, -frames:])
        ahead, begun = draw_live_windows(len(embedded), frames, embedded.shape[1], embedded.device)
        samples = live_samples(embedded, frames, ahead, begun)
        live = cast(TargetLifter, self.lifter).lift_targets(samples, ahead)
        of_targets = joints[torch.arange(len(joints), device=ahead.device), joints.shape[1] - 1 - ahead]
        assert live.centre is not None, "live windows have a pose for their targets"
        errors = None if live.expected_error is None else live.expected_error[:, None]
        as_windows = Poses(centre=None, frames=live.centre[:, None], expected_error=errors)
        return loss + self.live_weight * self._loss_of_poses(_in_full(as_windows), of_targets[:, None])

    def _loss_of_windows(self, poses: Poses, joints: Tensor) -> Tensor:
        full = _in_full(poses)
        loss = self._loss_of_poses(full, joints)
        if not self.velocity_weight:
            return loss
        return loss + self.velocity_weight * velocity_loss(full.answer[..., :3], joints)

    def _loss_of_poses(self, poses: Poses, joints: Tensor) -> Tensor:
        loss = self._loss(poses, joints, self.skeleton)
        if not self.bone_length_weight:
            return loss
        target = joints if poses.centre is None else joints[:, joints.shape[1] // 2]
        return loss + self.bone_length_weight * bone_length_loss(poses.answer[..., :3], target, self.skeleton)


def _in_full(poses: Poses) -> Poses:
    """In full precision: under autocast poses are bfloat16, whose steps are 4 mm at a metre; distances need more."""
    outputs = (poses.centre, poses.frames, poses.expected_error)
    return Poses(*(None if output is None else output.float() for output in outputs))


def draw_live_windows(windows: int, frames: int, stored: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw how many samples follow the target of each window, and where its stream begins.

    Args:
        windows, frames: number of windows B, and of the samples of each, N.
        stored: samples up to the newest one, N or more.
    Returns:
        Two int64 tensors [B]: the samples after the target, and the first sample of the stream.
    """
    reach = frames // 2
    ahead = torch.randint(reach + 1, (windows,), device=device)
    little = torch.rand(windows, device=device) < _LITTLE_AHEAD
    ahead = ahead.where(~little, torch.randint(min(2, reach + 1), (windows,), device=device))
    begun = (torch.rand(windows, device=device) * (stored - ahead)).long()
    return ahead, begun.where(torch.rand(windows, device=device) < _JUST_BEGUN, 0)


def live_samples(embedded: Tensor, frames: int, ahead: Tensor, begun: Tensor) -> Tensor:
    """The samples of windows as a live stream has them, in the order of `live_samples.live_distances`.

    Args:
        embedded: [B, P + N, C], up to the newest sample of each stream.
        frames: samples of a window, N.
        ahead, begun: [B] from `draw_live_windows`. In place of the samples before the beginning of the stream stands
            its first one.
    Returns:
        [B, N, C].
    """
    distances = live_distances(frames)
    table = indices(distances.flatten().tolist(), ahead.device).view(distances.shape)
    places = (embedded.shape[1] - 1 - ahead)[:, None] + table[ahead]
    return embedded.gather(1, places.maximum(begun[:, None])[..., None].expand(-1, -1, embedded.shape[2]))


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
