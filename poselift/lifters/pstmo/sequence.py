"""P-STMO from sequence to sequence: lift a window of 2D frames to the 3D poses of all its frames.

This is the encoder of P-STMO with a head for every frame, which the official network uses in training only, and without
the aggregator. Instead of adding positions to frames, attention has a learned bias for each distance between two
frames, so windows of any length can be lifted.

Letters: B windows, N frames of a window, T frames that are encoded, J joints, C channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import ErrorHead, JointHead, TransformerLayer
from poselift.lifters.constants import indices
from poselift.lifters.costs import Count
from poselift.lifters.frame_features import frame_features, n_features, with_known_rows
from poselift.lifters.fused import FusedErrorHead, FusedFrameEncoder, FusedLayer, fused_head
from poselift.lifters.lifter import Poses
from poselift.lifters.pstmo.network import FrameEmbedding
from poselift.lifters.sizes import check_heads, check_size, refuse_setting
from poselift.live_samples import computed_samples, live_distances

_BLOCK_LENGTHS = (1, 2, 6)
"""Lengths of blocks that hide the future: a frame sees at most one frame less than that ahead."""


@dataclass(frozen=True)
class SequenceSTMOConfig:
    """Sizes of the network.

    Attributes:
        frames: window length N in training and serving; larger distances share the attention bias of the largest one.
        channels, hidden: width of the tokens and of the transformer's inner networks.
        layers: transformer layers.
        heads: attention heads; they share the channels (and, in pretraining, half of them) evenly.
        joints_in, joints_out: joints of a 2D frame and of a 3D pose.
        dropout: dropout rate of all layers.
        mask_token: whether a learned position replaces missing joints; without it no input may contain NaN.
        person_centred: whether each frame is first normalised by its own mean and size, see `person_centre`.
        expected_error: whether the network also estimates the error of each joint, see `ErrorHead`.
        hidden_future: share of the training windows in which frames do not see all later frames, see `block_mask`.
        known: whether frames come with rows of what is known of camera and person, see `poselift.known`.
        gravity: whether each pose has one more row, the direction of falling.
    Raises:
        InvalidArtifact: a size no network can have.
    """

    sequence_to_sequence: ClassVar[bool] = True
    lifts_targets: ClassVar[bool] = True

    frames: int
    channels: int = 128
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    joints_in: int = 17
    joints_out: int = 17
    dropout: float = 0.0
    mask_token: bool = True
    person_centred: bool = True
    expected_error: bool = False
    hidden_future: float = 0.0
    known: bool = False
    gravity: bool = False

    @property
    def rows_out(self) -> int:
        """Rows of a pose: its joints, and the direction of falling, if the network finds that."""
        return self.joints_out + self.gravity

    def __post_init__(self) -> None:
        for name in ("frames", "channels", "hidden", "layers", "heads", "joints_in", "joints_out"):
            check_size(self, name)
        check_heads(self)
        for name in ("dropout", "hidden_future"):
            share: object = getattr(self, name)
            if not isinstance(share, float | int) or isinstance(share, bool) or not 0 <= share < 1:
                refuse_setting(name, f"{name} must lie in [0, 1), not {share!r}.")
        for name in ("mask_token", "person_centred", "expected_error", "known", "gravity"):
            switch: object = getattr(self, name)
            if not isinstance(switch, bool):
                refuse_setting(name, f"{name} must be true or false, not {switch!r}.")
        if self.known and not self.mask_token:
            refuse_setting("known", "known needs mask_token, as what is not known is missing like a joint.")


class DistanceBias(nn.Module):
    """Learned additions to the scores of attention, one for each distance between two frames, layer and head."""

    def __init__(self, layers: int, heads: int, reach: int) -> None:
        """Create biases of zero.

        Args:
            reach: largest distance with a bias of its own; larger distances use the same one.
        """
        super().__init__()
        self.reach = reach
        self.by_distance = nn.Parameter(torch.zeros(layers, heads, 2 * reach + 1))

    def forward(self, places: Tensor) -> Tensor:
        """Biases for frames at these places in time, int64 [..., T] -> [layers, heads, ..., T (query), T (key)]."""
        distance = (places[..., None, :] - places[..., :, None]).clamp(-self.reach, self.reach)
        biases: Tensor = self.by_distance[:, :, distance + self.reach]
        return biases


class SequenceEncoder(nn.Module):
    """Transformer layers over the frames of a window of any length. [B, N, C] -> [B, N, C].

    Each new layer is the identity, so that layers can be added to an encoder that is already trained.
    """

    def __init__(self, channels: int, hidden: int, layers: int, heads: int, dropout: float, reach: int) -> None:
        super().__init__()
        self.bias = DistanceBias(layers, heads, reach)
        self.layers = nn.ModuleList(TransformerLayer(channels, hidden, heads, dropout) for _ in range(layers))
        for layer in cast("list[TransformerLayer]", self.layers):
            for product in (layer.attention.out, layer.narrow):
                nn.init.zeros_(product.weight)
                nn.init.zeros_(product.bias)

    def forward(self, embedded: Tensor, visible: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Encode all frames, or only the visible ones.

        Args:
            visible: int64 [V], ascending indices of the frames to encode; the result is then [B, V, C].
            mask: bool [B, N (query), N (key)], whether one frame sees the other; None: all frames see each other.
        """
        frames = torch.arange(embedded.shape[1], device=embedded.device) if visible is None else visible
        # Under autocast, too, what the layers add up stays in full precision.
        x = (embedded if visible is None else embedded[:, visible]).float()
        biases = self.bias(frames)
        for layer, bias in zip(self.layers, biases, strict=True):
            x = layer(x, bias if mask is None else bias.masked_fill(~mask[:, None], float("-inf")))
        return x

    def target_biases(self) -> list[Tensor]:
        """For each layer, the biases in live windows with each number of samples ahead: [A, heads, T (query), T (key)].

        Only samples that the layer computes look, and only those that the layer before computed are seen.
        """
        frames = self.bias.reach + 1
        distances = live_distances(frames)
        places = indices(distances.flatten().tolist(), self.bias.by_distance.device).view(distances.shape)
        computed = computed_samples(frames, len(self.layers))
        seen = (frames, *computed)
        biases = self.bias(places).transpose(1, 2)
        return [bias[:, :, :looking, :at] for bias, looking, at in zip(biases, computed, seen, strict=False)]


def encode_targets(layers: nn.ModuleList, samples: Tensor, biases: Iterable[Tensor]) -> Tensor:
    """Encode the targets of live windows alone.

    Args:
        samples: [B, N, C], those of each window in the order of `live_samples`.
        biases: for each layer, [B, heads, T (query), T (key)] as `SequenceEncoder.target_biases`.
    Returns:
        [B, 1, C].
    """
    for layer, bias in zip(layers, biases, strict=True):
        looking, seen = bias.shape[2:]
        samples = layer(samples, bias, None if looking == seen else looking)
    return samples


def block_mask(windows: int, frames: int, share: float, device: torch.device) -> Tensor:
    """Draw attention masks for training as in live streams, where few later frames have arrived.

    In a share of the windows, frames form blocks of 1, 2 or 6, and each frame sees all frames up to the end of its own
    block: at most 0, 1 or 5 later frames. This holds through any number of layers.

    Returns:
        [B, N (query), N (key)] bool.
    """
    lengths = indices(_BLOCK_LENGTHS, device)[torch.randint(len(_BLOCK_LENGTHS), (windows,), device=device)]
    lengths = lengths.masked_fill(torch.rand(windows, device=device) >= share, frames)
    begun = (torch.rand(windows, device=device) * lengths).long()
    whole = lengths == frames
    block = (torch.arange(frames, device=device) + begun.masked_fill(whole, 0)[:, None]) // lengths[:, None]
    return block[:, None, :] <= block[:, :, None]


class SequenceSTMO(nn.Module):
    """Per-frame embedding, transformer over the window, and a pose for each frame of it."""

    def __init__(self, config: SequenceSTMOConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = FrameEmbedding(config, known=config.known)
        self.temporal = sequence_encoder(config)
        self.frames_head = JointHead(config.channels, config.rows_out, 3)
        self.error_head = ErrorHead(config.channels, config.rows_out) if config.expected_error else None

    @property
    def receptive_field(self) -> int:
        """Frames per window as served, N; windows of other lengths can be run, too."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """One token per frame; in eval mode each comes from its own frame alone.

        Args:
            frames: [..., J, 2], screen coordinates, NaN where a joint is missing (only with `mask_token`); with `known`
                also [..., J + K, 2].
        Returns:
            [..., C].
        """
        embedded: Tensor = self.embedding(frames)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """Poses of all frames of windows of tokens, [B, N, C]."""
        mask = None
        if self.training and self.config.hidden_future:
            windows, frames, _ = embedded.shape
            mask = block_mask(windows, frames, self.config.hidden_future, embedded.device)
        encoded = self.temporal(embedded, mask=mask)
        errors = None if self.error_head is None else self.error_head(encoded)
        return Poses(centre=None, frames=self.frames_head(encoded), expected_error=errors)

    def lift_targets(self, embedded: Tensor, ahead: Tensor) -> Poses:
        """As `TargetLifter.lift_targets`."""
        biases = (bias.index_select(0, ahead) for bias in self.temporal.target_biases())
        # Under autocast, too, what the layers add up stays in full precision.
        encoded = encode_targets(self.temporal.layers, embedded.float(), biases)
        errors = None if self.error_head is None else self.error_head(encoded)[:, 0]
        return Poses(centre=self.frames_head(encoded)[:, 0], frames=None, expected_error=errors)

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSequenceSTMO":
        """A copy in the fast, eval-only form."""
        return FusedSequenceSTMO(self)


def sequence_encoder(config: SequenceSTMOConfig) -> SequenceEncoder:
    return SequenceEncoder(
        config.channels, config.hidden, config.layers, config.heads, config.dropout, reach=config.frames - 1
    )


class FusedSequenceSTMO(nn.Module):
    """`SequenceSTMO` for inference: a copy of a trained one with fused blocks, within 2e-5 of it."""

    def __init__(self, lifter: SequenceSTMO) -> None:
        super().__init__()
        self.config = lifter.config
        token = lifter.embedding.mask_token
        self.mask_token = None if token is None else nn.Parameter(token.detach().clone())
        self.encoder = FusedFrameEncoder(lifter.embedding.encoder)
        self.distance_bias = DistanceBias(self.config.layers, self.config.heads, lifter.temporal.bias.reach)
        self.distance_bias.load_state_dict(lifter.temporal.bias.state_dict())
        self.layers = nn.ModuleList(FusedLayer(cast(TransformerLayer, layer)) for layer in lifter.temporal.layers)
        self.head = fused_head(lifter.frames_head)
        self.error_head = None if lifter.error_head is None else FusedErrorHead(lifter.error_head)
        self.to(next(lifter.parameters()).device).eval().requires_grad_(requires_grad=False)
        places = torch.arange(self.config.frames, device=self.head.weight.device)
        self.register_buffer("served_bias", self.distance_bias(places))
        self.target_biases = nn.ParameterList(
            nn.Parameter(bias.contiguous(), requires_grad=False) for bias in lifter.temporal.target_biases()
        )

    @property
    def receptive_field(self) -> int:
        """Frames per window as served, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """As `SequenceSTMO.embed`: [..., J, 2] -> [..., C]."""
        config = self.config
        if config.known:
            frames = with_known_rows(frames, config.joints_in)
        features = frame_features(frames, self.mask_token, person_centred=config.person_centred, known=config.known)
        embedded: Tensor = self.encoder(features)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """As `SequenceSTMO.aggregate` in eval mode: [B, N, C] -> poses of all frames."""
        x = embedded
        for layer, bias in zip(self.layers, self._biases(embedded), strict=True):
            x = layer(x, bias)
        return Poses(
            centre=None,
            frames=self.head(x).view(*x.shape[:2], self.config.rows_out, 3),
            expected_error=None if self.error_head is None else self.error_head(x),
        )

    def lift_targets(self, embedded: Tensor, ahead: Tensor) -> Poses:
        """As `TargetLifter.lift_targets`."""
        biases = (bias.index_select(0, ahead) for bias in self.target_biases)
        x = encode_targets(self.layers, embedded, biases)[:, 0]
        return Poses(
            centre=self.head(x).view(-1, self.config.rows_out, 3),
            frames=None,
            expected_error=None if self.error_head is None else self.error_head(x),
        )

    def _biases(self, embedded: Tensor) -> Tensor:
        if embedded.shape[1] == self.config.frames:
            return cast(Tensor, self.served_bias)
        return cast(Tensor, self.distance_bias(torch.arange(embedded.shape[1], device=embedded.device)))

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSequenceSTMO":
        """This very network."""
        return self


def flops(config: SequenceSTMOConfig) -> Count:
    """Operations for one window, two for each multiply-add of a product.

    `counted` adds thop's four operations per BatchNorm value and leaves out attention; `full` does the reverse.
    """
    frames, channels = config.frames, config.channels
    products = _embedding_products(config) + channels * 3 * config.rows_out
    products += config.layers * (4 * channels**2 + 2 * channels * config.hidden)
    attention = config.layers * 2 * frames * channels
    normalised = 3 * 2 * channels + channels
    return Count(counted=frames * (2 * products + 8 * normalised), full=2 * frames * (products + attention))


def target_flops(config: SequenceSTMOConfig) -> int:
    """Operations for the target of a live window alone, as `Count.full`."""
    frames, channels = config.frames, config.channels
    products = frames * _embedding_products(config) + channels * 3 * config.rows_out
    computed = computed_samples(frames, config.layers)
    for looking, seen in zip(computed, (frames, *computed), strict=False):
        products += 2 * channels * (seen * channels + looking * (channels + config.hidden + seen))
    return 2 * products


def _embedding_products(config: SequenceSTMOConfig) -> int:
    """Multiply-adds of the per-frame network for a frame."""
    width = 2 * config.channels
    features = n_features(config.joints_in, person_centred=config.person_centred, known=config.known)
    return features * width + 2 * width**2 + width * config.channels
