"""P-STMO: lift a window of 2D frames to the 3D pose of its middle frame, and pretrain the encoder by masked pose modelling.

Shapes: B windows, N frames of a window (the receptive field), J joints, C channels. A joint with a NaN coordinate is missing.
Initialisation is stock PyTorch per layer, N(0, 1) for positions and tokens. The official code deep-copies one prototype, so that its layers start
equal to each other; ours start independent.

Source: P-STMO (ECCV 2022), official code at commit aea43d0.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters.blocks import (
    Aggregator,
    DeviationNorm,
    FrameEncoder,
    JointHead,
    Poses,
    TemporalEncoder,
    TransformerLayer,
)

STRIDES = {9: (1, 3, 3), 27: (3, 3, 3), 81: (3,) * 4, 243: (3,) * 5, 351: (3, 9, 13)}
"""Strides of the aggregator for each window length the network exists for."""

_CONTEXT_ROWS = 2
_SMALLEST_SPREAD = 1e-3
"""Half a pixel in an image 1000 wide: a frame with one joint, or with all of them in one place, has no size to divide by."""


@dataclass(frozen=True)
class STMOConfig:
    """Sizes of the network.

    Attributes:
        frames: window length N, a key of `STRIDES`.
        channels, hidden: width of the tokens and of the transformer's inner networks.
        layers: transformer layers before the aggregator (3 in P-STMO-S, 4 in P-STMO).
        heads: attention heads; divides channels (and, for pretraining, channels / 2).
        joints_in, joints_out: joints of a 2D frame and of a 3D pose.
        dropout: share dropped in every part.
        mask_token: whether a learnt position stands in for missing joints. Without it the input must hold no NaN.
        person_centred: whether each frame is first taken relative to its own mean and size, see `person_centre`.
    Raises:
        InvalidArtifact: a size no network can have.
    """

    frames: int
    channels: int = 256
    hidden: int = 512
    layers: int = 3
    heads: int = 8
    joints_in: int = 17
    joints_out: int = 17
    dropout: float = 0.1
    mask_token: bool = False
    person_centred: bool = False

    def __post_init__(self) -> None:
        if self.frames not in STRIDES:
            lengths = ", ".join(map(str, STRIDES))
            raise InvalidArtifact(f"A P-STMO window has {lengths} frames, not {self.frames}.", path="network.frames")
        for name in ("channels", "hidden", "layers", "heads", "joints_in", "joints_out"):
            if getattr(self, name) < 1:
                raise InvalidArtifact(f"{name} must be at least 1, not {getattr(self, name)}.", path=f"network.{name}")
        if self.channels % self.heads:
            raise InvalidArtifact(
                f"{self.channels} channels cannot be shared by {self.heads} heads.", path="network.channels"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InvalidArtifact(f"dropout must lie in [0, 1), not {self.dropout}.", path="network.dropout")

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each aggregator layer."""
        return STRIDES[self.frames]


class FrameEmbedding(nn.Module):
    """One frame to one token: stand-ins for missing joints, optional person-centring, the per-frame network. [..., J, 2] -> [..., C]."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.person_centred = config.person_centred
        self.mask_token = nn.Parameter(torch.randn(2)) if config.mask_token else None
        rows = config.joints_in + (_CONTEXT_ROWS if config.person_centred else 0)
        self.encoder = FrameEncoder(rows * 2, config.channels, config.dropout)

    def forward(self, frames: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(self.features(frames))
        return encoded

    def features(self, frames: Tensor) -> Tensor:
        """What the per-frame network sees, joint-major: x0, y0, x1, y1, ... [..., J, 2] -> [..., 2 * J (+ 4)]."""
        context = None
        if self.person_centred:
            frames, context = person_centre(frames)
        if self.mask_token is not None:
            frames = torch.where(_missing(frames).unsqueeze(-1), self.mask_token.to(frames.dtype), frames)
        if context is not None:
            frames = torch.cat((frames, context), dim=-2)
        return frames.flatten(-2)


def _missing(frames: Tensor) -> Tensor:
    return frames.isnan().any(dim=-1)


def person_centre(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Take each frame relative to the mean and the size of the person in it.

    Args:
        frames: [..., J, 2], screen coordinates, NaN where a joint is missing.
    Returns:
        centred: [..., J, 2], (x - mean) / spread, where mean and spread (root mean square distance to the mean) are those of the joints that are
            there; NaN stays NaN.
        context: [..., 2, 2], what that took away: the mean (x, y), then (log spread, share of missing joints). All zero but the share for a frame
            without joints.
    """
    missing = _missing(frames).unsqueeze(-1)
    present = (~missing).sum(dim=-2, keepdim=True).to(frames.dtype)
    divisor = present.clamp_min(1)
    mean = frames.masked_fill(missing, 0).sum(dim=-2, keepdim=True) / divisor
    offsets = frames - mean
    squares = offsets.masked_fill(missing, 0).square().sum(dim=(-2, -1), keepdim=True)
    spread = (squares / divisor).sqrt().clamp_min(_SMALLEST_SPREAD)
    log_spread = torch.where(present > 0, spread.log(), 0)
    share_missing = 1 - present / frames.shape[-2]
    context = torch.cat((mean, torch.cat((log_spread, share_missing), dim=-1)), dim=-2)
    return offsets / spread, context


class STMO(nn.Module):
    """The lifter of P-STMO: per-frame embedding, transformer over the window, strided aggregation into the middle frame."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = FrameEmbedding(config)
        self.temporal = _temporal_encoder(config)
        self.aggregator = Aggregator(
            config.frames, config.channels, config.hidden, config.heads, config.strides, config.dropout
        )
        self.centre_head = JointHead(config.channels, config.joints_out, 3)
        self.frames_head = JointHead(config.channels, config.joints_out, 3)

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """One token per frame; in eval mode each from its own frame alone.

        Args:
            frames: [..., J, 2], screen coordinates, NaN where a joint is missing (only with `mask_token`).
        Returns:
            [..., C].
        """
        embedded: Tensor = self.embedding(frames)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """Poses of whole windows of tokens [B, N, C]; the head over all frames serves the training loss and is skipped in eval mode."""
        encoded = self.temporal(embedded)
        centre = self.centre_head(self.aggregator(encoded)).squeeze(1)
        return Poses(centre=centre, frames=self.frames_head(encoded) if self.training else None)

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))


def lifting_loss(poses: Poses, target: Tensor) -> Tensor:
    """Mean joint distance over all frames plus the same of the centre pose, weight 1 each (reference 4).

    Args:
        poses: of a lifter in training mode, both heads.
        target: [B, N, J, 3], root-relative camera space, root row zero.
    Returns:
        scalar, in the unit of the target.
    """
    assert poses.centre is not None and poses.frames is not None, "the loss needs a lifter in training mode"
    centre_target = target[:, target.shape[1] // 2]
    return _mean_distance(poses.frames, target) + _mean_distance(poses.centre, centre_target)


def _mean_distance(predicted: Tensor, target: Tensor) -> Tensor:
    assert predicted.shape == target.shape, f"{tuple(predicted.shape)} against {tuple(target.shape)}"
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean()


def _temporal_encoder(config: STMOConfig) -> TemporalEncoder:
    return TemporalEncoder(config.frames, config.channels, config.hidden, config.layers, config.heads, config.dropout)


class MaskedPoseModel(nn.Module):
    """Stage I: rebuild whole windows from those whose frames and joints are partly hidden (masked pose modelling).

    The embedding and the temporal encoder are those of the lifter; hidden joints become the mask token, hidden frames skip the temporal encoder. The
    decoder is half as wide and one layer shorter.
    """

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels // 2
        self.embedding = FrameEmbedding(replace(config, mask_token=True))
        self.temporal = _temporal_encoder(config)
        self.encoded_norm = DeviationNorm(config.channels)
        self.to_decoder = nn.Linear(config.channels, width, bias=False)
        self.hidden_frame_token = nn.Parameter(torch.randn(width))
        self.decoder_position = nn.Parameter(torch.randn(config.frames, width))
        self.decoder = nn.ModuleList(
            TransformerLayer(width, config.hidden // 2, config.heads, config.dropout) for _ in range(config.layers - 1)
        )
        self.head = JointHead(width, config.joints_in, 2)

    def forward(self, windows: Tensor, hidden_frames: Tensor, hidden_joints: Tensor) -> Tensor:
        """Rebuild windows of which one pattern, the same for the whole batch, is hidden.

        Args:
            windows: [B, N, J, 2], screen coordinates, NaN where a joint is missing anyway.
            hidden_frames: bool [N]; on the CPU no device synchronisation is needed.
            hidden_joints: bool [N, J], joints to hide in every frame, also in the hidden ones (which still count in the BatchNorm statistics).
        Returns:
            [B, N, J, 2] in time order (the official network returns visible frames first), in the coordinates of `target`.
        """
        visible = torch.nonzero(~hidden_frames).squeeze(1).to(windows.device)
        hidden = hidden_joints.to(windows.device).unsqueeze(-1)
        embedded = self.embedding(windows.masked_fill(hidden, float("nan")))
        encoded = self.to_decoder(self.encoded_norm(self.temporal(embedded, visible)))
        # Attention and BatchNorm do not care for the order of tokens, so they are put back in time order before the decoder.
        tokens = self.hidden_frame_token.to(encoded.dtype).expand(len(windows), self.config.frames, -1)
        decoded = tokens.index_copy(1, visible, encoded) + self.decoder_position
        for layer in self.decoder:
            decoded = layer(decoded)
        rebuilt: Tensor = self.head(decoded)
        return rebuilt

    def target(self, clean: Tensor) -> Tensor:
        """What `forward` should return for clean windows [B, N, J, 2] in which nothing is missing."""
        return person_centre(clean)[0] if self.config.person_centred else clean

    def encoder_state(self) -> dict[str, Tensor]:
        """The tensors an `STMO` of the same config begins its stage II with; load with `strict=False`."""
        dropped = () if self.config.mask_token else ("embedding.mask_token",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(("embedding.", "temporal.")) and name not in dropped
        }


def masked_pose_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Mean 2D distance over all frames and joints, hidden or not (reference 3.3). [B, N, J, 2] twice -> scalar."""
    return _mean_distance(reconstruction, target)


def draw_masks(
    config: STMOConfig, temporal_rate: float, joints: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what one training step hides.

    Every joint may be hidden, as the paper has it; the official code never draws the last one.

    Args:
        temporal_rate: share of frames to hide, in [0, 1); int(N * rate) are hidden.
        joints: joints to hide in each frame, at most J.
        generator: on the CPU.
    Returns:
        hidden frames, bool [N]; hidden joints, bool [N, J] with `joints` of them per frame. Both on the CPU.
    """
    # The places in a random order are a random permutation, so exactly k of them lie below k.
    frame_ranks = torch.rand(config.frames, generator=generator).argsort()
    joint_ranks = torch.rand(config.frames, config.joints_in, generator=generator).argsort(dim=1)
    return frame_ranks < int(config.frames * temporal_rate), joint_ranks < joints
