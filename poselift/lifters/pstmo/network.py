"""The lifter of P-STMO: from a window of 2D frames to the 3D pose of its middle frame.

Shapes: B windows, N frames of a window (the receptive field), J joints, C channels. A joint with a NaN coordinate is
missing. Initialisation is stock PyTorch per layer and N(0, 1) for positions and tokens; the official code deep-copies
one prototype, so its layers start equal to each other, and ours start independent.

Source: P-STMO (ECCV 2022), official code at commit aea43d0.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import (
    TAPS,
    Aggregator,
    ErrorHead,
    FrameEncoder,
    JointHead,
    MiddleToken,
    TemporalEncoder,
    token_counts,
)
from poselift.lifters.costs import Count
from poselift.lifters.frame_features import frame_features, n_features, with_known_rows
from poselift.lifters.fused import (
    FusedAggregator,
    FusedErrorHead,
    FusedFrameEncoder,
    FusedTemporalEncoder,
    fused_head,
)
from poselift.lifters.lifter import Poses
from poselift.lifters.sizes import check_heads, check_size, refuse_setting

STRIDES = {9: (1, 3, 3), 27: (3, 3, 3), 81: (3,) * 4, 243: (3,) * 5, 351: (3, 9, 13)}
"""Strides of the aggregator, for each supported window length."""


@dataclass(frozen=True)
class STMOConfig:
    """Sizes of the network.

    Attributes:
        frames: window length N, a key of `STRIDES`.
        channels, hidden: width of the tokens, and of the feed-forward networks of the transformer.
        layers: transformer layers before the aggregator (3 in P-STMO-S, 4 in P-STMO; 0 in the paper's ablation).
        heads: attention heads; they must divide the channels (and, in pretraining, half of them).
        joints_in, joints_out: joints of a 2D frame and of a 3D pose.
        dropout: dropout rate of all layers.
        mask_token: whether a learnt position replaces missing joints; without it no input may contain a NaN.
        person_centred: whether each frame is first expressed relative to its own mean and size, see `person_centre`.
        aggregator: whether the window is aggregated; otherwise its middle token alone is lifted (the paper's ablation).
        centred_aggregator: whether the aggregator is centred on the middle of the window, see `StridedLayer`.
        expected_error: whether the network also estimates the error of each joint, see `ErrorHead`.
    Raises:
        InvalidArtifact: a size that no network can have.
    """

    sequence_to_sequence: ClassVar[bool] = False
    lifts_targets: ClassVar[bool] = False

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
    aggregator: bool = True
    centred_aggregator: bool = False
    expected_error: bool = False

    def __post_init__(self) -> None:
        frames: object = self.frames  # manifests are not type-checked
        if not isinstance(frames, int) or frames not in STRIDES:
            lengths = ", ".join(map(str, STRIDES))
            refuse_setting("frames", f"A P-STMO window has {lengths} frames, not {self.frames!r:.40}.")
        for name, least in (
            ("channels", 2),
            ("hidden", 1),
            ("layers", 0),
            ("heads", 1),
            ("joints_in", 1),
            ("joints_out", 1),
        ):
            check_size(self, name, least)
        check_heads(self)
        dropout: object = self.dropout
        if not isinstance(dropout, float | int) or not 0 <= dropout < 1:
            refuse_setting("dropout", f"dropout must lie in [0, 1), not {dropout!r}.")
        for name in ("mask_token", "person_centred", "aggregator", "centred_aggregator", "expected_error"):
            switch: object = getattr(self, name)
            if not isinstance(switch, bool):
                refuse_setting(name, f"{name} must be true or false, not {switch!r}.")

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each aggregator layer."""
        return STRIDES[self.frames]


class EmbeddingConfig(Protocol):
    """What a per-frame embedding is made of; the attributes are those of `STMOConfig`."""

    @property
    def channels(self) -> int: ...

    @property
    def joints_in(self) -> int: ...

    @property
    def dropout(self) -> float: ...

    @property
    def mask_token(self) -> bool: ...

    @property
    def person_centred(self) -> bool: ...


class FrameEmbedding(nn.Module):
    """One frame to one token: mask token for missing joints, then the per-frame network. [..., J, 2] -> [..., C].

    Args:
        known: whether frames may end with rows of what is known, [..., J + K, 2], see `poselift.known`.
    """

    def __init__(self, config: EmbeddingConfig, *, known: bool = False) -> None:
        super().__init__()
        self.person_centred = config.person_centred
        self.joints = config.joints_in
        self.known = known
        self.mask_token = nn.Parameter(torch.randn(2)) if config.mask_token else None
        features = n_features(config.joints_in, person_centred=config.person_centred, known=known)
        self.encoder = FrameEncoder(features, config.channels, config.dropout)

    def forward(self, frames: Tensor) -> Tensor:
        if self.known:
            frames = with_known_rows(frames, self.joints)
        features = frame_features(frames, self.mask_token, person_centred=self.person_centred, known=self.known)
        embedded: Tensor = self.encoder(features)
        return embedded


def temporal_encoder(config: STMOConfig) -> TemporalEncoder:
    """Build the temporal encoder of a configuration, with new weights."""
    return TemporalEncoder(config.frames, config.channels, config.hidden, config.layers, config.heads, config.dropout)


def _build_aggregator(config: STMOConfig) -> Aggregator | MiddleToken:
    if not config.aggregator:
        return MiddleToken()
    return Aggregator(
        config.frames,
        config.channels,
        config.hidden,
        config.heads,
        config.strides,
        config.dropout,
        centred=config.centred_aggregator,
    )


class STMO(nn.Module):
    """The network: per-frame embedding, transformer over the window, aggregation into its middle frame."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = FrameEmbedding(config)
        self.temporal = temporal_encoder(config)
        self.aggregator = _build_aggregator(config)
        self.centre_head = JointHead(config.channels, config.joints_out, 3)
        self.frames_head = JointHead(config.channels, config.joints_out, 3)
        self.error_head = ErrorHead(config.channels, config.joints_out) if config.expected_error else None

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames, one token each; in eval mode a token depends on its own frame alone.

        Args:
            frames: [..., J, 2] screen coordinates; NaN where a joint is missing (only with `mask_token`).
        Returns:
            [..., C].
        """
        embedded: Tensor = self.embedding(frames)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """Lift whole windows of tokens, [B, N, C].

        The head over all frames exists for the training loss alone and is skipped in eval mode.
        """
        encoded = self.temporal(embedded)
        token = self.aggregator(encoded)
        return Poses(
            centre=self.centre_head(token).squeeze(1),
            frames=self.frames_head(encoded) if self.training else None,
            expected_error=None if self.error_head is None else self.error_head(token).squeeze(1),
        )

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSTMO":
        """A copy optimised for inference."""
        return FusedSTMO(self)


class FusedSTMO(nn.Module):
    """`STMO` for inference: a copy of a trained network with fused blocks and the centre head alone, within 2e-5."""

    def __init__(self, lifter: STMO) -> None:
        super().__init__()
        self.config = lifter.config
        token = lifter.embedding.mask_token
        self.mask_token = None if token is None else nn.Parameter(token.detach().clone())
        self.encoder = FusedFrameEncoder(lifter.embedding.encoder)
        self.temporal = FusedTemporalEncoder(lifter.temporal.position, lifter.temporal.layers)
        aggregator = lifter.aggregator
        self.aggregator = FusedAggregator(aggregator) if isinstance(aggregator, Aggregator) else aggregator
        self.head = fused_head(lifter.centre_head)
        self.error_head = None if lifter.error_head is None else FusedErrorHead(lifter.error_head)
        self.eval().requires_grad_(requires_grad=False)

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """As `STMO.embed`: [..., J, 2] -> [..., C]."""
        features = frame_features(frames, self.mask_token, person_centred=self.config.person_centred)
        embedded: Tensor = self.encoder(features)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """As `STMO.aggregate` in eval mode: [B, N, C] -> poses of the middle frames."""
        token = self.aggregator(self.temporal(embedded))
        return Poses(
            centre=self.head(token).view(-1, self.config.joints_out, 3),
            frames=None,
            expected_error=None if self.error_head is None else self.error_head(token).squeeze(1),
        )

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSTMO":
        """This network itself."""
        return self


def flops(config: STMOConfig) -> Count:
    """Count the operations for one window through both heads, two for each multiply-add of a product.

    `counted` adds thop's four operations per BatchNorm value and leaves out attention; `full` does the reverse.
    """
    frames, channels, width = config.frames, config.channels, 2 * config.channels
    projections, network = 4 * channels**2, channels * config.hidden
    products = frames * (
        n_features(config.joints_in, person_centred=config.person_centred) * width + 2 * width**2 + width * channels
    )
    products += config.layers * frames * (projections + 2 * network)
    attention = config.layers * 2 * frames**2 * channels
    strides = config.strides if config.aggregator else ()
    for tokens, stride in zip(token_counts(frames, strides), strides, strict=True):
        products += tokens * (projections + network) + tokens // stride * TAPS * network
        attention += 2 * tokens**2 * channels
    products += (frames + 1) * channels * 3 * config.joints_out
    normalised = frames * 3 * width + (frames + 1) * channels
    return Count(counted=2 * products + 4 * normalised * 2, full=2 * (products + attention))
