"""P-STMO: lift a window of 2D frames to the 3D pose of its middle frame, and pretrain by masked pose modelling.

Shapes: B windows, N frames of a window (the receptive field), J joints, C channels. A joint with a NaN coordinate is
missing. Initialisation is stock PyTorch per layer and N(0, 1) for positions and tokens; the official code deep-copies
one prototype, so that its layers start equal to each other, and ours start independent.

Source: P-STMO (ECCV 2022), official code at commit aea43d0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters.blocks import (
    TAPS,
    Aggregator,
    DeviationNorm,
    ErrorHead,
    FrameEncoder,
    JointHead,
    MiddleToken,
    Poses,
    TemporalEncoder,
    TransformerLayer,
    token_counts,
)
from poselift.lifters.costs import Count
from poselift.lifters.fused import (
    FusedAggregator,
    FusedErrorHead,
    FusedFrameEncoder,
    FusedTemporalEncoder,
    fused_head,
)
from poselift.skeletons import Skeleton

STRIDES = {9: (1, 3, 3), 27: (3, 3, 3), 81: (3,) * 4, 243: (3,) * 5, 351: (3, 9, 13)}
"""Strides of the aggregator for each window length the network exists for."""

_CONTEXT_ROWS = 2
CONTEXT = 2 * _CONTEXT_ROWS
"""Numbers per frame that person-centring takes away, and that are given to the network besides."""

# Half a pixel in a picture 1000 wide: a frame whose joints all lie in one place has no size to divide by.
_SMALLEST_SPREAD = 1e-3
_REFINE_HIDDEN = 1024


@dataclass(frozen=True)
class STMOConfig:
    """Sizes of the network.

    Attributes:
        frames: window length N, a key of `STRIDES`.
        channels, hidden: width of the tokens and of the transformer's inner networks.
        layers: transformer layers before the aggregator (3 in P-STMO-S, 4 in P-STMO; 0 in the paper's ablation).
        heads: attention heads; they share the channels (and, in pretraining, half of them) evenly.
        joints_in, joints_out: joints of a 2D frame and of a 3D pose.
        dropout: share dropped, everywhere.
        mask_token: whether a learnt position stands in for missing joints; without it no input may hold a NaN.
        person_centred: whether each frame is first taken relative to its own mean and size, see `person_centre`.
        aggregator: whether the window is aggregated; without, its middle token alone is lifted (the paper's ablation).
        centred_aggregator: whether the aggregator works around the middle of the window, see `StridedLayer`.
        expected_error: whether it also tells how far each joint is likely to be off, see `ErrorHead`.
    Raises:
        InvalidArtifact: a size no network can have.
    """

    sequence_to_sequence: ClassVar[bool] = False

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
        frames: object = self.frames  # a manifest may hold anything
        if not isinstance(frames, int) or frames not in STRIDES:
            lengths = ", ".join(map(str, STRIDES))
            _refuse("frames", f"A P-STMO window has {lengths} frames, not {self.frames!r}.")
        for name in ("channels", "hidden", "layers", "heads", "joints_in", "joints_out"):
            size: object = getattr(self, name)
            least = 0 if name == "layers" else 1
            if not isinstance(size, int) or isinstance(size, bool) or size < least:
                _refuse(name, f"{name} must be a whole number of at least {least}, not {size!r}.")
        if self.channels % self.heads:
            _refuse("channels", f"{self.channels} channels cannot be shared evenly by {self.heads} heads.")
        dropout: object = self.dropout
        if not isinstance(dropout, float | int) or not 0 <= dropout < 1:
            _refuse("dropout", f"dropout must lie in [0, 1), not {dropout!r}.")
        for name in ("mask_token", "person_centred", "aggregator", "centred_aggregator", "expected_error"):
            switch: object = getattr(self, name)
            if not isinstance(switch, bool):
                _refuse(name, f"{name} must be true or false, not {switch!r}.")

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each aggregator layer."""
        return STRIDES[self.frames]


def _refuse(field: str, message: str) -> None:
    raise InvalidArtifact(message, path=f"network.{field}")


def person_centre(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Take each frame relative to the mean and the size of the person in it.

    Args:
        frames: [..., J, 2], screen coordinates, NaN where a joint is missing.
    Returns:
        centred: [..., J, 2], (x - mean) / spread over the joints that are there, the spread being their root mean
            square distance to the mean; NaN stays NaN.
        context: [..., 2, 2], what that took away: the mean (x, y), then (log spread, share of missing joints). All
            zero but the share in a frame without joints.
    """
    missing = _missing(frames)
    present = (~missing).sum(dim=-2, keepdim=True).to(frames.dtype)
    divisor = present.clamp_min(1)
    mean = frames.masked_fill(missing, 0).sum(dim=-2, keepdim=True) / divisor
    offsets = frames - mean
    squares = offsets.masked_fill(missing, 0).square().sum(dim=(-2, -1), keepdim=True)
    spread = (squares / divisor).sqrt().clamp_min(_SMALLEST_SPREAD)
    log_spread = torch.where(present > 0, spread.log(), 0)
    context = torch.cat((mean, torch.cat((log_spread, 1 - present / frames.shape[-2]), dim=-1)), dim=-2)
    return offsets / spread, context


def _missing(frames: Tensor) -> Tensor:
    return frames.isnan().any(dim=-1, keepdim=True)


def frame_features(frames: Tensor, mask_token: Tensor | None, *, person_centred: bool) -> Tensor:
    """What the per-frame network sees, joint-major: x0, y0, x1, y1, ... [..., J, 2] -> [..., 2 * J (+ 4)]."""
    context = None
    if person_centred:
        frames, context = person_centre(frames)
    if mask_token is not None:
        frames = torch.where(_missing(frames), mask_token, frames)
    if context is not None:
        frames = torch.cat((frames, context), dim=-2)
    return frames.flatten(-2)


def n_features(config: STMOConfig) -> int:
    return 2 * (config.joints_in + (_CONTEXT_ROWS if config.person_centred else 0))


class FrameEmbedding(nn.Module):
    """One frame to one token: a stand-in for missing joints, then the per-frame network. [..., J, 2] -> [..., C]."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.person_centred = config.person_centred
        self.mask_token = nn.Parameter(torch.randn(2)) if config.mask_token else None
        self.encoder = FrameEncoder(n_features(config), config.channels, config.dropout)

    def forward(self, frames: Tensor) -> Tensor:
        features = frame_features(frames, self.mask_token, person_centred=self.person_centred)
        embedded: Tensor = self.encoder(features)
        return embedded


def _temporal_encoder(config: STMOConfig) -> TemporalEncoder:
    return TemporalEncoder(config.frames, config.channels, config.hidden, config.layers, config.heads, config.dropout)


def _aggregator(config: STMOConfig) -> Aggregator | MiddleToken:
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
    """The lifter of P-STMO: per-frame embedding, transformer over the window, aggregation into its middle frame."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = FrameEmbedding(config)
        self.temporal = _temporal_encoder(config)
        self.aggregator = _aggregator(config)
        self.centre_head = JointHead(config.channels, config.joints_out, 3)
        self.frames_head = JointHead(config.channels, config.joints_out, 3)
        self.error_head = ErrorHead(config.channels, config.joints_out) if config.expected_error else None

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        """One token per frame; in eval mode each comes from its own frame alone.

        Args:
            frames: [..., J, 2], screen coordinates, NaN where a joint is missing (only with `mask_token`).
        Returns:
            [..., C].
        """
        embedded: Tensor = self.embedding(frames)
        return embedded

    def aggregate(self, embedded: Tensor) -> Poses:
        """Poses of whole windows of tokens, [B, N, C].

        The head over all frames exists for the training loss and is skipped in eval mode.
        """
        encoded = self.temporal(embedded)
        token = self.aggregator(encoded)
        return Poses(
            centre=self.centre_head(token).squeeze(1),
            frames=self.frames_head(encoded) if self.training else None,
            expected_error=None if self.error_head is None else self.error_head(token),
        )

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSTMO":
        """A copy in the fast, eval-only form."""
        return FusedSTMO(self)


class FusedSTMO(nn.Module):
    """`STMO` for inference: a copy of a trained one with fused blocks and the centre head alone, within 2e-5 of it."""

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
        """As `STMO.aggregate` in eval mode: [B, N, C] -> poses of the centre frames."""
        token = self.aggregator(self.temporal(embedded))
        return Poses(
            centre=self.head(token).view(-1, self.config.joints_out, 3),
            frames=None,
            expected_error=None if self.error_head is None else self.error_head(token),
        )

    def forward(self, windows: Tensor) -> Poses:
        """Lift windows [B, N, J, 2] of screen coordinates."""
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "FusedSTMO":
        """This very network."""
        return self


def lifting_loss(poses: Poses, target: Tensor) -> Tensor:
    """Mean joint distance over all frames, plus the same of the centre pose.

    Args:
        poses: of a lifter in training mode.
        target: [B, N, J, 3], root-relative camera space, root row zero. The predicted root is not zeroed.
    Returns:
        scalar, in the unit of the target.
    Source: P-STMO; the official stage II loss.
    """
    assert poses.centre is not None, "the loss needs the centre head"
    assert poses.frames is not None, "the loss needs a lifter in training mode"
    return _mean_distance(poses.frames, target) + _mean_distance(poses.centre, target[:, target.shape[1] // 2])


def training_loss(poses: Poses, target: Tensor, skeleton: Skeleton) -> Tensor:
    """`lifting_loss`, which weighs all joints of any skeleton alike, and what expected errors are trained by."""
    loss = lifting_loss(poses, target)
    if poses.expected_error is None:
        return loss
    assert poses.centre is not None, "errors are expected of the centre pose"
    errors = torch.linalg.vector_norm(poses.centre.detach() - target[:, target.shape[1] // 2], dim=-1)
    joints = [joint for joint in range(skeleton.n_joints) if joint != skeleton.root]  # the root is always right
    return loss + expected_error_loss(poses.expected_error[:, joints], errors[:, joints])


def expected_error_loss(expected: Tensor, errors: Tensor) -> Tensor:
    """Negative log likelihood of errors that are exponentially distributed about what was expected: [...] -> scalar.

    Smallest where each expected error is the mean of the true ones in its place.
    """
    return (expected.log() + errors / expected).mean()


def _mean_distance(predicted: Tensor, target: Tensor) -> Tensor:
    assert predicted.shape == target.shape, f"{tuple(predicted.shape)} against {tuple(target.shape)}"
    distances: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    return distances.mean()


class MaskedPoseModel(nn.Module):
    """Stage I: rebuild whole windows from those whose frames and joints are partly hidden.

    The embedding and the temporal encoder are those of the lifter. Hidden joints become the mask token; hidden frames
    skip the temporal encoder. The decoder is half as wide and one layer shorter.

    Raises:
        InvalidArtifact: the heads cannot share half the channels.
    """

    lifts: ClassVar[bool] = False

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels // 2
        if width % config.heads:
            _refuse("channels", f"The decoder's {width} channels cannot be shared evenly by {config.heads} heads.")
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
        """Rebuild windows from what one pattern, the same for the whole batch, leaves visible.

        Args:
            windows: [B, N, J, 2], screen coordinates, NaN where a joint is missing anyway.
            hidden_frames: bool [N], on the CPU (anywhere else works, and waits for the device).
            hidden_joints: bool [N, J], joints to hide, in hidden frames too: these still count in the BatchNorms.
        Returns:
            [B, N, J, 2] in time order (the official network returns the visible frames first), comparable to `target`.
        """
        visible = torch.nonzero(~hidden_frames).squeeze(1).to(windows.device)
        hidden = hidden_joints.to(windows.device).unsqueeze(-1)
        embedded = self.embedding(windows.masked_fill(hidden, float("nan")))
        encoded = self.to_decoder(self.encoded_norm(self.temporal(embedded, visible)))
        # Neither attention nor BatchNorm minds the order of tokens, so they return to time order before the decoder.
        tokens = self.hidden_frame_token.to(encoded.dtype).expand(len(windows), self.config.frames, -1)
        decoded = tokens.index_copy(1, visible, encoded) + self.decoder_position
        for layer in self.decoder:
            decoded = layer(decoded)
        rebuilt: Tensor = self.head(decoded)
        return rebuilt

    def target(self, clean: Tensor) -> Tensor:
        """What `forward` should return for clean windows [B, N, J, 2] in which nothing is missing."""
        return person_centre(clean)[0] if self.config.person_centred else clean

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """`draw_masks` for this network."""
        return draw_masks(self.config, temporal_rate, joints, generator)

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """What stage I minimises: windows and clean windows [B, N, J, 2] and masks of `draw_masks` to a scalar.

        `joints` and `lift` are for networks that know 3D poses.
        """
        rebuilt: Tensor = self(windows, *masks)
        # Under autocast the network answers in bfloat16; the distance is taken in full precision.
        return masked_pose_loss(rebuilt.float(), self.target(clean))

    def encoder_state(self) -> dict[str, Tensor]:
        """The tensors that an `STMO` of the same config starts stage II with; load them with `strict=False`."""
        left_out = () if self.config.mask_token else ("embedding.mask_token",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(("embedding.", "temporal.")) and name not in left_out
        }


def masked_pose_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Mean distance over all frames and joints, hidden or not. [B, N, J, 2] (or 3) twice -> scalar.

    Source: P-STMO, stage I; the paper speaks of a likelihood, the official code does this.
    """
    return _mean_distance(reconstruction, target)


def draw_masks(
    config: STMOConfig, temporal_rate: float, joints: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what one training step hides.

    Any joint may be hidden, as the paper has it; the official code never hides the last one.

    Args:
        temporal_rate: share of frames to hide, in [0, 1); int(N * rate) of them are.
        joints: joints to hide in each frame, at most J.
        generator: on the CPU.
    Returns:
        Hidden frames, bool [N]; hidden joints, bool [N, J] with `joints` of them per frame. Both on the CPU.
    """
    # The places in a random order are a random permutation, so exactly k of them lie below k.
    frame_places = torch.rand(config.frames, generator=generator).argsort()
    joint_places = torch.rand(config.frames, config.joints_in, generator=generator).argsort(dim=1)
    return frame_places < int(config.frames * temporal_rate), joint_places < joints


class RefineModule(nn.Module):
    """Blend a predicted pose with its back-projection, joint by joint, in x and y (the paper's optional third step).

    It needs the true depth of the root and the camera, so it serves evaluation on data sets, not video.
    """

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.widen = nn.Linear(6 * joints, _REFINE_HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.narrow = nn.Linear(_REFINE_HIDDEN, 2 * joints)

    def forward(self, predicted: Tensor, back_projected: Tensor) -> Tensor:
        """Refine poses [B, J, 3] with those of `back_project` [B, J, 3]; z stays as predicted."""
        both = torch.cat((predicted, back_projected), dim=-1).flatten(1)
        share = torch.sigmoid(self.narrow(self.dropout(F.relu(self.widen(both))))).view(-1, self.joints, 2)
        blended = share * predicted[..., :2] + (1 - share) * back_projected[..., :2]
        return torch.cat((blended, predicted[..., 2:]), dim=-1)


def back_project(keypoints: Tensor, predicted: Tensor, root_depth: Tensor, intrinsics: Tensor, root: int) -> Tensor:
    """Place the joints on the rays of their keypoints, at the predicted depth; lens distortion is ignored.

    Args:
        keypoints: [B, J, 2], screen coordinates of the centre frame.
        predicted: [B, J, 3], root-relative; only z is used.
        root_depth: [B], true distance of the root joint along the optical axis, in the unit of `predicted`.
        intrinsics: [B, 9], fx, fy, cx, cy, ... in screen coordinates.
        root: index of the root joint.
    Returns:
        [B, J, 3], relative to the root, whose row is zero.
    """
    relative_depth = predicted[..., 2].clone()
    relative_depth[:, root] = 0
    depth = (relative_depth + root_depth.unsqueeze(-1)).unsqueeze(-1)  # [B, J, 1]
    focal, centre = intrinsics[:, None, 0:2], intrinsics[:, None, 2:4]
    points = torch.cat(((keypoints - centre) * depth / focal, depth), dim=-1)
    return points - points[:, root : root + 1]


def flops(config: STMOConfig) -> Count:
    """Operations for one window through both heads, two for each multiply-add of a product.

    `counted` adds thop's four operations per BatchNorm value and leaves out attention; `full` does the reverse.
    """
    frames, channels, width = config.frames, config.channels, 2 * config.channels
    projections, network = 4 * channels**2, channels * config.hidden
    products = frames * (n_features(config) * width + 2 * width**2 + width * channels)
    products += config.layers * frames * (projections + 2 * network)
    attention = config.layers * 2 * frames**2 * channels
    strides = config.strides if config.aggregator else ()
    for tokens, stride in zip(token_counts(frames, strides), strides, strict=True):
        products += tokens * (projections + network) + tokens // stride * TAPS * network
        attention += 2 * tokens**2 * channels
    products += (frames + 1) * channels * 3 * config.joints_out
    normalised = frames * 3 * width + (frames + 1) * channels
    return Count(counted=2 * products + 4 * normalised * 2, full=2 * (products + attention))
