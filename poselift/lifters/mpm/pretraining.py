"""Pretraining."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from poselift.lifters.mpm.network import MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace, Rebuilt
from poselift.lifters.pstmo.pretraining import draw_masks, masked_pose_loss

PRETRAINING_LAYERS = 1
"""Layers of each decoder while pretraining."""


class MaskedPoseSpace(PoseSpace):
    """`PoseSpace` for pretraining: half of a batch gives windows of keypoints, the other half windows of 3D poses."""

    lifts: ClassVar[bool] = True

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config, PRETRAINING_LAYERS)

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Hidden frames [N] and hidden joints [N, J] of the keypoints, then of the 3D poses."""
        flat, spatial = (draw_masks(self.config, temporal_rate, joints, generator) for _ in range(2))
        return *flat, *spatial

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """What pretraining minimises, with the official weights.

        Args:
            windows, clean: [B, N, J, 2], B at least 2; the first half is rebuilt.
            joints: [B, N, J, 3], of which the second half is rebuilt, so that the two do not belong together.
            masks: of `draw_masks`.
            lift: what the joints of the first half count, lifted from its keypoints; officially 0.
        Returns:
            scalar.
        """
        frames_2d, joints_2d, frames_3d, joints_3d = masks
        half = len(windows) // 2
        # Keypoints first, as the official code does it: both leave their mark on the shared BatchNorms.
        flat: Rebuilt = self(windows[:half], joints_2d, frames_2d, lift=lift > 0)
        spatial: Rebuilt = self(joints[half:], joints_3d, frames_3d)
        loss = PRETRAINING.keypoints * _off_by(flat.keypoints, self.target(clean[:half]))
        loss = loss + PRETRAINING.joints * _off_by(spatial.joints, joints[half:])
        return loss + lift * _off_by(flat.joints, joints[:half]) if lift else loss

    def encoder_state(self) -> dict[str, Tensor]:
        """`lifter_state`."""
        return self.lifter_state()


def _off_by(rebuilt: Tensor | None, target: Tensor) -> Tensor:
    assert rebuilt is not None, "the network was asked for it"
    # Under autocast the network answers in bfloat16; the distance is taken in full precision.
    return masked_pose_loss(rebuilt.float(), target)


class TaskWeights(NamedTuple):
    """What the mean joint distances of the tasks count in a training loss: 2D from 2D, 3D from 3D, 3D from 2D."""

    keypoints: float
    joints: float
    lift: float


# Of the official trainings. The 2D pass comes before the 3D pass, and both leave their mark on the shared BatchNorms.
PRETRAINING = TaskWeights(keypoints=5, joints=2, lift=0)
COMPLETION_3D = TaskWeights(keypoints=0, joints=1, lift=0)
COMPLETION_2D = TaskWeights(keypoints=1, joints=0, lift=2)
ONLY_LIFT = TaskWeights(keypoints=2, joints=3, lift=8)
