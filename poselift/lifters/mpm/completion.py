"""The completion network of MPM as it is served: from windows of incomplete 3D poses to complete ones.

Shapes as in `pose_space.py`. The network is the whole `PoseSpace`, which can do more; here its input and its output are
3D poses.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters.constants import upload
from poselift.lifters.costs import Count
from poselift.lifters.fused import FusedFrameEncoder, FusedTemporalEncoder, fused_head, fused_norm
from poselift.lifters.lifter import Poses
from poselift.lifters.mpm.hidden_joints import draw_tubes, joint_tubes
from poselift.lifters.mpm.network import MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace, joint_features
from poselift.lifters.pstmo.pretraining import masked_pose_loss
from poselift.skeletons import Skeleton

COMPLETION_LAYERS = 2
"""Layers of each decoder of a completion network."""


@dataclass(frozen=True)
class MPMCompletionConfig(MPMConfig):
    """Sizes of the network, as `MPMConfig`; joints may always be missing.

    Raises:
        InvalidArtifact: a size that no network can have.
    """

    sequence_to_sequence: ClassVar[bool] = True
    lifts_targets: ClassVar[bool] = False

    mask_token: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mask_token:
            raise InvalidArtifact("A network that completes has a token for joints.", path="network.mask_token")


class MPMCompletion(nn.Module):
    """Complete root-relative 3D poses: one pose for every frame of the window."""

    def __init__(self, config: MPMCompletionConfig) -> None:
        """Create the network with new weights.

        Raises:
            InvalidArtifact: as `PoseSpace`.
        """
        super().__init__()
        self.config = config
        self.space = PoseSpace(config, COMPLETION_LAYERS)
        self._freeze_keypoint_path()

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def _freeze_keypoint_path(self) -> None:
        """Freeze the layers that only keypoints pass, because distributed training waits for every gradient."""
        space = self.space
        for token in (space.keypoint_token, space.hidden_frame_token):
            token.requires_grad = False
        for part in (space.encoder.widen, space.encoder.widen_norm, space.keypoints_decoder, space.keypoints_head):
            part.requires_grad_(requires_grad=False)

    def embed(self, frames: Tensor) -> Tensor:
        """Embed root-relative poses [..., J, 3], NaN where a joint is missing; one token [..., C] per frame."""
        return self.space.embed_joints(frames)

    def aggregate(self, embedded: Tensor) -> Poses:
        """Poses of all frames of whole windows of tokens, [B, N, C]; given joints are predicted, too."""
        return Poses(centre=None, frames=self.space.decode_joints(embedded))

    def forward(self, windows: Tensor) -> Poses:
        """Complete windows [B, N, J, 3]."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedMPMCompletion":
        """A copy of the layers that 3D poses pass, optimised for inference."""
        return FusedMPMCompletion(self)


class FusedMPMCompletion(nn.Module):
    """`MPMCompletion` for inference: a copy of a trained network with fused blocks, within 2e-5."""

    def __init__(self, network: MPMCompletion) -> None:
        super().__init__()
        self.config = network.config
        space = network.space
        encoder = copy.deepcopy(space.encoder)
        encoder.widen, encoder.widen_norm = space.joints_widen, space.joints_widen_norm
        self.token = nn.Parameter(space.joint_token.detach().clone())
        self.encoder = FusedFrameEncoder(encoder)
        self.temporal = FusedTemporalEncoder(space.temporal.position, space.temporal.layers)
        self.encoded_norm = fused_norm(space.encoded_norm)
        self.decoder = FusedTemporalEncoder(space.decoder_position, space.joints_decoder)
        self.head = fused_head(space.joints_head)
        self.eval().requires_grad_(requires_grad=False)

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """As `MPMCompletion.embed`: [..., J, 3] -> [..., C]."""
        embedded: Tensor = self.encoder(joint_features(frames, self.token))
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """As `MPMCompletion.aggregate`: [B, N, C] -> poses of all frames."""
        decoded = self.decoder(self.encoded_norm(self.temporal(embedded)))
        windows, frames = embedded.shape[:2]
        return Poses(centre=None, frames=self.head(decoded).view(windows, frames, self.config.joints_out, 3))

    def forward(self, windows: Tensor) -> Poses:
        """Complete windows [B, N, J, 3]."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedMPMCompletion":
        """This network itself."""
        return self


def hide_joints(_windows: Tensor, joints: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
    """The input of training: poses [B, N, J, 3] with a limb or some joints missing in all frames of a window."""
    hidden = draw_tubes(joint_tubes(skeleton), len(joints), skeleton.n_joints, generator)
    return joints.masked_fill(upload(hidden, joints.device).unsqueeze(-1), float("nan"))


def training_loss(poses: Poses, target: Tensor, _skeleton: Skeleton) -> Tensor:
    """Mean distance over all frames and joints [B, N, J, 3], hidden or not, as in the official code."""
    assert poses.frames is not None, "the loss needs the poses of all frames"
    return masked_pose_loss(poses.frames, target)


def flops(config: MPMCompletionConfig) -> Count:
    """Count the operations for one window of 3D poses, as `pstmo.network.flops` counts them."""
    frames, channels, width = config.frames, config.channels, 2 * config.channels
    layers = config.layers + COMPLETION_LAYERS
    products = frames * (3 * config.joints_in * width + 2 * width**2 + width * channels)
    products += layers * frames * (4 * channels**2 + 2 * channels * config.hidden)
    products += frames * channels * 3 * config.joints_out
    attention = layers * 2 * frames**2 * channels
    normalised = frames * (3 * width + channels)
    return Count(counted=2 * products + 4 * normalised * 2, full=2 * (products + attention))
