"""MPM: 2D and 3D poses in one space, to lift, to rebuild what is hidden, and to complete 3D poses.

Shapes: B windows, N frames of a window, J joints, C channels. A joint with a NaN coordinate is missing.

The lifter has the function of P-STMO's with other dropout. Before it is trained to lift, its encoder learns to rebuild
masked windows of keypoints and of 3D poses alike (`PoseSpace`), which need not belong together.

Source: MPM, official code, classes `Model`, `MPMmask2` (pretraining) and `MPMmask` (completion).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters import pstmo
from poselift.lifters.blocks import LEAK, DeviationNorm, FrameEncoder, JointHead, TemporalEncoder, TransformerLayer
from poselift.lifters.checkpoints import (
    HEADS,
    Checkpoint,
    Form,
    Match,
    Source,
    aggregator_matches,
    batch_norm_matches,
    head_matches,
    product_matches,
    to_official,
    transformer_matches,
    unused_norms,
)
from poselift.lifters.costs import Count
from poselift.lifters.pstmo import STMO, STMOConfig
from poselift.skeletons import Skeleton

PRETRAINING_LAYERS = 1
"""Layers of each decoder while pretraining."""

COMPLETION_LAYERS = 2
"""Layers of each decoder of a network that completes."""


@dataclass(frozen=True)
class MPMConfig(STMOConfig):
    """Sizes of the networks, as in P-STMO.

    Attributes:
        frame_dropout: share dropped in the per-frame network while learning to lift; elsewhere it is `dropout`.
    Raises:
        InvalidArtifact: a size no network can have.
    """

    frame_dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        share: object = self.frame_dropout  # a manifest may hold anything
        if not isinstance(share, float | int) or not 0 <= share < 1:
            raise InvalidArtifact(f"frame_dropout must lie in [0, 1), not {share!r}.", path="network.frame_dropout")


class MPM(STMO):
    """The lifter of MPM."""

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config)
        self.embedding.encoder.dropout.p = config.frame_dropout


class Rebuilt(NamedTuple):
    """What `PoseSpace` makes of a window.

    Attributes:
        keypoints: [B, N, J, 2] as in `PoseSpace.target`; None for a window of 3D poses.
        joints: [B, N, J, 3]; None for a window of keypoints that was not to be lifted.
    """

    keypoints: Tensor | None
    joints: Tensor | None


class PoseSpace(nn.Module):
    """Rebuild windows of keypoints or of 3D poses of which frames and joints are hidden, and lift the former.

    Keypoints and 3D poses have a first layer and a decoder each; what lies between is shared, and the encoder is that
    of the lifter. Hidden joints become a token; hidden frames skip the temporal encoder. Decoders are as wide as it.
    """

    def __init__(self, config: MPMConfig, decoder_layers: int) -> None:
        """Args:
            decoder_layers: `PRETRAINING_LAYERS` or `COMPLETION_LAYERS`.
        Raises:
            InvalidArtifact: keypoints and poses have different joints.
        """
        super().__init__()
        if config.joints_in != config.joints_out:
            raise InvalidArtifact("Keypoints and 3D poses in one space have the same joints.", path="network.joints_in")
        self.config = config
        joints, channels, dropout = config.joints_in, config.channels, config.dropout
        self.keypoint_token = nn.Parameter(torch.randn(2))
        self.joint_token = nn.Parameter(torch.randn(3))
        self.encoder = FrameEncoder(pstmo.n_features(config), channels, dropout)
        self.joints_widen = nn.Linear(3 * joints, 2 * channels)
        self.joints_widen_norm = nn.BatchNorm1d(2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.temporal = TemporalEncoder(config.frames, channels, config.hidden, config.layers, config.heads, dropout)
        self.encoded_norm = DeviationNorm(channels)
        self.hidden_frame_token = nn.Parameter(torch.randn(channels))
        self.decoder_position = nn.Parameter(torch.randn(config.frames, channels))
        self.keypoints_decoder = _decoder(config, decoder_layers)
        self.joints_decoder = _decoder(config, decoder_layers)
        self.keypoints_head = JointHead(channels, joints, 2)
        self.joints_head = JointHead(channels, joints, 3)

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""
        return self.config.frames

    def forward(
        self,
        windows: Tensor,
        hidden_joints: Tensor | None = None,
        hidden_frames: Tensor | None = None,
        *,
        lift: bool = False,
    ) -> Rebuilt:
        """Rebuild windows from what is left visible.

        Args:
            windows: [B, N, J, 2] screen coordinates, or [B, N, J, 3] root-relative metres; NaN where a joint is
                missing.
            hidden_joints: bool, to be broadcast to [B, N, J]: joints to hide besides.
            hidden_frames: bool [N]; None hides no frame.
            lift: whether a window of keypoints also becomes 3D poses.
        Returns:
            Frames in time order.
        """
        if hidden_joints is not None:
            windows = windows.masked_fill(hidden_joints.to(windows.device).unsqueeze(-1), float("nan"))
        flat = windows.shape[-1] == 2
        token, centred = (self.keypoint_token, self.config.person_centred) if flat else (self.joint_token, False)
        features = pstmo.frame_features(windows, token, person_centred=centred)
        decoded = self._decoder_input(self.encoder(features) if flat else self._encode_joints(features), hidden_frames)
        return Rebuilt(
            keypoints=self.keypoints_head(_through(self.keypoints_decoder, decoded)) if flat else None,
            joints=self.joints_head(_through(self.joints_decoder, decoded)) if lift or not flat else None,
        )

    def target(self, clean: Tensor) -> Tensor:
        """What the keypoints of `forward` should be for clean windows [B, N, J, 2] in which nothing is missing."""
        return pstmo.person_centre(clean)[0] if self.config.person_centred else clean

    def complete(self, joints: Tensor) -> Tensor:
        """Fill in the missing joints of 3D poses [B, N, J, 3], NaN where missing; the others stay as they are."""
        rebuilt = self(joints).joints
        return torch.where(joints.isnan().any(dim=-1, keepdim=True), rebuilt, joints)

    def embed_joints(self, joints: Tensor) -> Tensor:
        """The features of 3D poses [..., J, 3], NaN where a joint is missing: [..., C]."""
        return self._encode_joints(joint_features(joints, self.joint_token))

    def rebuild_joints(self, embedded: Tensor) -> Tensor:
        """The 3D poses [B, N, J, 3] of whole windows of features, [B, N, C]."""
        rebuilt: Tensor = self.joints_head(_through(self.joints_decoder, self._decoder_input(embedded, None)))
        return rebuilt

    def lifter_state(self) -> dict[str, Tensor]:
        """The tensors that an `MPM` of the same config starts to lift with; load them with `strict=False`."""
        state = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("temporal.")}
        state |= {f"embedding.encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        return state | ({"embedding.mask_token": self.keypoint_token.detach()} if self.config.mask_token else {})

    def _encode_joints(self, features: Tensor) -> Tensor:
        widened = self.joints_widen_norm(self.joints_widen(features.flatten(0, -2)))
        encoded = self.encoder.narrowed(self.dropout(F.leaky_relu(widened, LEAK)))
        return encoded.view(*features.shape[:-1], -1)

    def _decoder_input(self, embedded: Tensor, hidden_frames: Tensor | None) -> Tensor:
        if hidden_frames is None:
            tokens: Tensor = self.encoded_norm(self.temporal(embedded))
        else:
            visible = torch.nonzero(~hidden_frames).squeeze(1).to(embedded.device)
            encoded = self.encoded_norm(self.temporal(embedded, visible))
            hidden = self.hidden_frame_token.to(encoded.dtype).expand(embedded.shape)
            tokens = hidden.index_copy(1, visible, encoded)
        return tokens + self.decoder_position


def joint_features(joints: Tensor, token: Tensor) -> Tensor:
    """What the first layer of 3D poses sees: [..., J, 3] -> [..., 3 * J], the token [3] where a joint is missing."""
    return torch.where(joints.isnan().any(dim=-1, keepdim=True), token, joints).flatten(-2)


def _decoder(config: MPMConfig, layers: int) -> nn.ModuleList:
    return nn.ModuleList(
        TransformerLayer(config.channels, config.hidden, config.heads, config.dropout) for _ in range(layers)
    )


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class MaskedPoseSpace(PoseSpace):
    """`PoseSpace` for pretraining: half of a batch gives windows of keypoints, the other half windows of 3D poses."""

    lifts: ClassVar[bool] = True

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config, PRETRAINING_LAYERS)

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Hidden frames [N] and hidden joints [N, J] of the keypoints, then of the 3D poses."""
        flat, spatial = (pstmo.draw_masks(self.config, temporal_rate, joints, generator) for _ in range(2))
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
    return pstmo.masked_pose_loss(rebuilt.float(), target)


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


@dataclass(frozen=True)
class Tubes:
    """What training for completion hides: the same joints in all frames of a window.

    Attributes:
        sets: joints that are hidden together.
        random_joints: how many are hidden in a window that hides none of the sets.
    """

    sets: tuple[tuple[int, ...], ...]
    random_joints: int


def joint_tubes(skeleton: Skeleton) -> Tubes:
    """What is hidden of 3D poses: right leg, right arm, left arm or left leg, or three joints.

    Source: the official sets, by name; the comments there call right limbs left.
    """
    names = ("right leg", "right arm", "left arm", "left leg")
    return Tubes(tuple(skeleton.limbs[name] for name in names), random_joints=3)


def keypoint_tubes(skeleton: Skeleton) -> Tubes:
    """What is hidden of keypoints: both legs, both arms, the right or the left limbs, or six joints."""
    limbs = skeleton.limbs
    halves = (
        limbs["right leg"] + limbs["left leg"],
        limbs["left arm"] + limbs["right arm"],
        limbs["right leg"] + limbs["right arm"],
        limbs["left leg"] + limbs["left arm"],
    )
    return Tubes(tuple(tuple(sorted(half)) for half in halves), random_joints=6)


def draw_tubes(tubes: Tubes, windows: int, joints: int, generator: torch.Generator) -> Tensor:
    """Draw the joints to hide in each window, every set and the random joints being equally likely.

    Args:
        joints: J, joints of the skeleton.
        generator: on the CPU.
    Returns:
        bool [B, 1, J], on the CPU.
    """
    hidden = torch.zeros(windows, len(tubes.sets) + 1, joints, dtype=torch.bool)
    for number, joint_set in enumerate(tubes.sets):
        hidden[:, number, list(joint_set)] = True
    hidden[:, -1] = torch.rand(windows, joints, generator=generator).argsort(dim=1) < tubes.random_joints
    chosen = torch.randint(hidden.shape[1], (windows,), generator=generator)
    return hidden[torch.arange(windows), chosen].unsqueeze(1)


def flops(config: MPMConfig) -> Count:
    """Operations for one window, as `pstmo.flops`: the function is the same."""
    return pstmo.flops(config)


def import_mpm(source: Source) -> MPM:
    """Read an official checkpoint of the lifting network (pose estimation).

    Returns:
        The lifter, float32, in eval mode.
    Raises:
        InvalidCheckpoint: no file of tensors, or tensors that are no such network; the ones at fault are named.
    """
    checkpoint = Checkpoint.read(source)
    config = _config(checkpoint, joints_out=checkpoint.size("fcn.1.weight", 0) // 3)
    with torch.device("meta"):
        expected = export_mpm(MPM(config))
    checkpoint.check_fit(expected)
    lifter = MPM(config)
    checkpoint.load_into(lifter, lifter_matches(config))
    return lifter.eval()


def import_pose_space(source: Source) -> PoseSpace:
    """Read an official checkpoint of the pretraining or of the completion network.

    Returns:
        The network, float32, in eval mode.
    Raises:
        InvalidCheckpoint: as `import_mpm`.
    """
    checkpoint = Checkpoint.read(source)
    config = _config(checkpoint, joints_out=checkpoint.size("fcn_dec3d.1.weight", 0) // 3)
    decoder_layers = checkpoint.count("decoder3d.model.layers")
    try:
        with torch.device("meta"):
            expected = export_pose_space(PoseSpace(config, decoder_layers))
    except InvalidArtifact as error:
        raise InvalidCheckpoint(f"{checkpoint.origin} is no MPM network: {error.message}") from error
    checkpoint.check_fit(expected)
    model = PoseSpace(config, decoder_layers)
    checkpoint.load_into(model, pose_space_matches(config, decoder_layers))
    return model.eval()


def _config(checkpoint: Checkpoint, joints_out: int) -> MPMConfig:
    try:
        return MPMConfig(
            frames=checkpoint.size("shared_layers_temporal.pos_embedding", 1),
            channels=checkpoint.size("shared_layers_spatial.fc_2.weight", 0),
            hidden=checkpoint.size("shared_layers_temporal.model.layers.0.feed_forward.w_1.weight", 0),
            layers=checkpoint.count("shared_layers_temporal.model.layers"),
            heads=HEADS,
            joints_in=checkpoint.size("encoder2d.fc_1.weight", 1) // 2,
            joints_out=joints_out,
        )
    except InvalidArtifact as error:
        raise InvalidCheckpoint(f"{checkpoint.origin} is no MPM network: {error.message}") from error


def export_mpm(lifter: MPM) -> dict[str, Tensor]:
    """Write a lifter as the state dict an official lifting network loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has parts the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official lifter knows neither missing joints nor person-centred input.")
    official = to_official(lifter, lifter_matches(lifter.config), lifter.config.frames)
    widths = dict.fromkeys(("shared_layers_temporal", "Transformer_reduce"), lifter.config.channels)
    return official | unused_norms(widths)


def export_pose_space(model: PoseSpace) -> dict[str, Tensor]:
    """Write a masked network as the state dict an official one loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the network takes person-centred keypoints, which the official one does not.
    """
    if model.config.person_centred:
        raise InvalidCheckpoint("An official network does not know person-centred input.")
    matches = pose_space_matches(model.config, len(model.joints_decoder))
    official = to_official(model, matches, model.config.frames)
    widths = dict.fromkeys(("shared_layers_temporal", "decoder2d", "decoder3d"), model.config.channels)
    return official | unused_norms(widths)


def lifter_matches(config: STMOConfig) -> list[Match]:
    """Every tensor of `MPM(config)` that an official lifting network holds too."""
    return [
        *_encoder_matches("embedding.encoder", config.layers),
        *aggregator_matches(len(config.strides)),
        *head_matches("centre_head", "fcn"),
        *head_matches("frames_head", "fcn_1"),
    ]


def pose_space_matches(config: MPMConfig, decoder_layers: int) -> list[Match]:
    """Every tensor of `PoseSpace(config, decoder_layers)`."""
    matches = [
        *_encoder_matches("encoder", config.layers),
        *product_matches("joints_widen", "encoder3d.fc_1", Form.KERNEL_1),
        *batch_norm_matches("joints_widen_norm", "encoder3d.bn_1"),
        Match("keypoint_token", ("spatial_mask_token2d",), Form.LEADING),
        Match("joint_token", ("spatial_mask_token3d",), Form.LEADING),
        Match("encoded_norm.weight", ("encoder_LN.a_2",)),
        Match("encoded_norm.bias", ("encoder_LN.b_2",)),
        Match("hidden_frame_token", ("temporal_mask_token",), Form.LEADING),
        Match("decoder_position", ("dec_pos_embedding",), Form.BATCHED),
        *head_matches("keypoints_head", "fcn_dec2d"),
        *head_matches("joints_head", "fcn_dec3d"),
    ]
    for layer in range(decoder_layers):
        matches += transformer_matches(f"keypoints_decoder.{layer}", f"decoder2d.model.layers.{layer}")
        matches += transformer_matches(f"joints_decoder.{layer}", f"decoder3d.model.layers.{layer}")
    return matches


def _encoder_matches(ours: str, layers: int) -> Iterator[Match]:
    products = {"widen": "encoder2d.fc_1", "narrow": "shared_layers_spatial.fc_2"}
    norms = {"widen_norm": "encoder2d.bn_1"}
    for number in (1, 2):
        products[f"inner_{number}"] = f"shared_layers_spatial.layers.0.w{number}"
        norms[f"inner_norm_{number}"] = f"shared_layers_spatial.layers.0.batch_norm{number}"
    for mine, theirs in products.items():
        yield from product_matches(f"{ours}.{mine}", theirs, Form.KERNEL_1)
    for mine, theirs in norms.items():
        yield from batch_norm_matches(f"{ours}.{mine}", theirs)
    yield Match("temporal.position", ("shared_layers_temporal.pos_embedding",), Form.BATCHED)
    for layer in range(layers):
        yield from transformer_matches(f"temporal.layers.{layer}", f"shared_layers_temporal.model.layers.{layer}")
