"""The lifter of MixSTE: all frames of a window at once, by attention among joints and among frames in turn.

Shapes: B windows, N frames of a window, J joints, C channels. A token is one joint of one frame. Initialisation is
stock PyTorch, with both positions at zero.

Source: MixSTE (CVPR 2022), official code at commit 72a36be, class `MixSTE2`.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.lifters.blocks import Attention, in_float32
from poselift.lifters.costs import Count
from poselift.lifters.frame_features import CONTEXT, person_centre
from poselift.lifters.lifter import Poses
from poselift.lifters.sizes import check_heads, check_size, refuse_setting

_EPS = 1e-6  # of all norms but the head's
# CUDA's memory-efficient attention fails with more rows, the third dimension of its grid (pytorch/pytorch#142228).
_MAX_ROWS = 65535


@dataclass(frozen=True)
class MixSTEConfig:
    """Sizes of the network.

    Attributes:
        frames: window length N.
        channels, hidden: width of the tokens, and of the feed-forward networks of the blocks.
        layers: pairs of a spatial and a temporal block.
        heads: attention heads; they must divide the channels.
        joints: joints of a 2D frame, and of the 3D pose.
        drop_path: rate at which training skips the branches of the deepest blocks; it grows from 0 with depth.
        mask_token: whether a learnt position replaces missing joints; without it no input may contain a NaN.
        person_centred: whether each frame is first expressed relative to its own mean and size, see `person_centre`;
            what that removes is added to all tokens of the frame.
    Raises:
        InvalidArtifact: a size that no network can have.
    """

    sequence_to_sequence: ClassVar[bool] = True
    lifts_targets: ClassVar[bool] = False

    frames: int
    channels: int = 512
    hidden: int = 1024
    layers: int = 8
    heads: int = 8
    joints: int = 17
    drop_path: float = 0.1
    mask_token: bool = False
    person_centred: bool = False

    def __post_init__(self) -> None:
        for name in ("frames", "channels", "hidden", "layers", "heads", "joints"):
            check_size(self, name)
        check_heads(self)
        drop_path: object = self.drop_path  # manifests are not type-checked
        if not isinstance(drop_path, float | int) or not 0 <= drop_path < 1:
            refuse_setting("drop_path", f"drop_path must lie in [0, 1), not {drop_path!r}.")
        for name in ("mask_token", "person_centred"):
            switch: object = getattr(self, name)
            if not isinstance(switch, bool):
                refuse_setting(name, f"{name} must be true or false, not {switch!r}.")

    @property
    def joints_in(self) -> int:
        """Joints of a 2D frame."""
        return self.joints

    @property
    def joints_out(self) -> int:
        """Joints of a 3D pose."""
        return self.joints


class MixedBlock(nn.Module):
    """Pre-norm transformer layer with stochastic depth: training drops branches of whole rows. [R, T, C] -> same."""

    def __init__(self, channels: int, hidden: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm = nn.LayerNorm(channels, eps=_EPS)
        self.attention = Attention(channels, heads, dropout=0.0)
        self.network_norm = nn.LayerNorm(channels, eps=_EPS)
        self.widen = nn.Linear(channels, hidden)
        self.narrow = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._drop_path(_in_parts(self.attention, self.attention_norm(x)))
        out: Tensor = x + self._drop_path(self.narrow(F.gelu(self.widen(self.network_norm(x)))))
        return out

    def _drop_path(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        kept = branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.drop_path)
        return branch * kept / (1 - self.drop_path)


def _in_parts(attention: Attention, rows: Tensor) -> Tensor:
    """Attention [R, T, C] -> same, over at most `_MAX_ROWS` rows at a time."""
    if len(rows) <= _MAX_ROWS:
        return cast(Tensor, attention(rows))
    return torch.cat([attention(part) for part in rows.split(_MAX_ROWS)])


class MixSTE(nn.Module):
    """The network: spatial and temporal blocks in turn, one pose for every frame of the window."""

    def __init__(self, config: MixSTEConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        rates = torch.linspace(0, config.drop_path, config.layers, device="cpu").tolist()
        self.mask_token = nn.Parameter(torch.randn(2)) if config.mask_token else None
        self.widen = nn.Linear(2, channels)
        self.widen_context = nn.Linear(CONTEXT, channels, bias=False) if config.person_centred else None
        self.joint_position = nn.Parameter(torch.zeros(config.joints, channels))
        self.frame_position = nn.Parameter(torch.zeros(config.frames, channels))
        self.spatial = nn.ModuleList(MixedBlock(channels, config.hidden, config.heads, rate) for rate in rates)
        self.temporal = nn.ModuleList(MixedBlock(channels, config.hidden, config.heads, rate) for rate in rates)
        # Each of the two follows every block of its kind.
        self.spatial_norm = nn.LayerNorm(channels, eps=_EPS)
        self.temporal_norm = nn.LayerNorm(channels, eps=_EPS)
        self.head_norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, 3)

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """Apply the first spatial block, the part of the network that sees one frame alone (its drop path is 0).

        Args:
            frames: [..., J, 2] screen coordinates; NaN where a joint is missing (only with `mask_token`).
        Returns:
            [..., J * C].
        """
        context = None
        if self.widen_context is not None:
            frames, removed = person_centre(frames)
            context = in_float32(self.widen_context, removed.flatten(-2)).unsqueeze(-2)
        if self.mask_token is not None:
            frames = torch.where(frames.isnan().any(dim=-1, keepdim=True), self.mask_token, frames)
        tokens = in_float32(self.widen, frames) + self.joint_position
        tokens = (tokens if context is None else tokens + context).view(-1, *self.joint_position.shape)
        embedded: Tensor = self.spatial_norm(self.spatial[0](tokens))
        return embedded.view(*frames.shape[:-2], -1)

    def aggregate(self, embedded: Tensor) -> Poses:
        """Lift all frames of whole windows, [B, N, J * C]."""
        windows, length = embedded.shape[:2]
        joints, channels = self.joint_position.shape
        by_joint = (windows, joints, length, channels)
        x = embedded.view(windows, length, joints, channels).transpose(1, 2) + self.frame_position
        for depth, (spatial, temporal) in enumerate(zip(self.spatial, self.temporal, strict=True)):
            if depth:
                x = self.spatial_norm(spatial(x.transpose(1, 2).reshape(-1, joints, channels)))
                x = x.view(windows, length, joints, channels).transpose(1, 2)
            x = self.temporal_norm(temporal(x.reshape(-1, length, channels))).view(by_joint)
        return Poses(centre=None, frames=self.head(self.head_norm(x.transpose(1, 2))))

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "MixSTE":
        """A copy in eval mode without gradients; there are no norms to fold."""
        return copy.deepcopy(self).eval().requires_grad_(requires_grad=False)


def flops(config: MixSTEConfig) -> Count:
    """Count the operations for one window, two for each multiply-add of a product.

    `counted` adds thop's four operations per normalised value and leaves out attention; `full` does the reverse.
    """
    frames, joints, channels = config.frames, config.joints, config.channels
    tokens, blocks = frames * joints, 2 * config.layers
    products = tokens * channels * (5 + blocks * (4 * channels + 2 * config.hidden))
    products += frames * CONTEXT * channels if config.person_centred else 0
    attention = config.layers * 2 * tokens * channels * (joints + frames)
    normalised = tokens * channels * (3 * blocks + 1)
    return Count(counted=2 * (products + 4 * normalised), full=2 * (products + attention))
