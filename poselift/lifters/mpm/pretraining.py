"""Masked pretraining of MPM on windows of keypoints and of 3D poses."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from poselift.lifters.mpm.network import MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace, Reconstruction
from poselift.lifters.pstmo.pretraining import draw_masks, masked_pose_loss

PRETRAINING_LAYERS = 1
"""Layers of each decoder during pretraining."""


class MaskedPoseSpace(PoseSpace):
    """`PoseSpace` for pretraining: half of a batch provides keypoints, the other half 3D poses."""

    lifts: ClassVar[bool] = True

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config, PRETRAINING_LAYERS)

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw hidden frames [N] and hidden joints [N, J] of the keypoints, then of the 3D poses."""
        flat, spatial = (draw_masks(self.config, temporal_rate, joints, generator) for _ in range(2))
        return *flat, *spatial

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """The pretraining loss, with the official weights.

        Args:
            windows, clean: [B, N, J, 2], B at least 2; the first half is reconstructed.
            joints: [B, N, J, 3]; the second half is reconstructed, so no pair of the two is from the same window.
            masks: as `draw_masks` returns them.
            lift: weight of the joints of the first half, lifted from its keypoints; 0 in the official code.
        Returns:
            A scalar.
        """
        frames_2d, joints_2d, frames_3d, joints_3d = masks
        half = len(windows) // 2
        # Keypoints first, as in the official code: both passes update the shared BatchNorms.
        flat: Reconstruction = self(windows[:half], joints_2d, frames_2d, lift=lift > 0)
        spatial: Reconstruction = self(joints[half:], joints_3d, frames_3d)
        loss = PRETRAINING.keypoints * _mean_error(flat.keypoints, self.target(clean[:half]))
        loss = loss + PRETRAINING.joints * _mean_error(spatial.joints, joints[half:])
        return loss + lift * _mean_error(flat.joints, joints[:half]) if lift else loss

    def encoder_state(self) -> dict[str, Tensor]:
        """As `lifter_state`."""
        return self.lifter_state()


def _mean_error(reconstructed: Tensor | None, target: Tensor) -> Tensor:
    assert reconstructed is not None, "the network was called for this output"
    # Under autocast the network returns bfloat16; the distance is computed in full precision.
    return masked_pose_loss(reconstructed.float(), target)


class TaskWeights(NamedTuple):
    """Weights of the mean joint distances in a training loss: 2D from 2D, 3D from 3D, 3D from 2D."""

    keypoints: float
    joints: float
    lift: float


# The official weights. The 2D pass precedes the 3D pass, and both update the shared BatchNorms.
PRETRAINING = TaskWeights(keypoints=5, joints=2, lift=0)
COMPLETION_3D = TaskWeights(keypoints=0, joints=1, lift=0)
COMPLETION_2D = TaskWeights(keypoints=1, joints=0, lift=2)
ONLY_LIFT = TaskWeights(keypoints=2, joints=3, lift=8)
