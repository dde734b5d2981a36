"""Masked pose modelling, stage I of P-STMO: reconstruct whole windows from partly hidden ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import (
    DeviationNorm,
    JointHead,
    TransformerLayer,
)
from poselift.lifters.constants import upload
from poselift.lifters.frame_features import person_centre
from poselift.lifters.pstmo.losses import mean_distance
from poselift.lifters.pstmo.network import FrameEmbedding, STMOConfig, temporal_encoder
from poselift.lifters.sizes import refuse_setting


class MaskedPoseModel(nn.Module):
    """Reconstruct windows with hidden frames and joints.

    The embedding and the temporal encoder are those of the lifter. Hidden joints are replaced by the mask token; hidden
    frames skip the temporal encoder. The decoder is half as wide and one layer shorter.

    Raises:
        InvalidArtifact: the heads do not divide half the channels.
    """

    lifts: ClassVar[bool] = False

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels // 2
        if width % config.heads:
            refuse_setting(
                "channels", f"The decoder's {width} channels cannot be shared evenly by {config.heads} heads."
            )
        self.embedding = FrameEmbedding(replace(config, mask_token=True))
        self.temporal = temporal_encoder(config)
        self.encoded_norm = DeviationNorm(config.channels)
        self.to_decoder = nn.Linear(config.channels, width, bias=False)
        self.hidden_frame_token = nn.Parameter(torch.randn(width))
        self.decoder_position = nn.Parameter(torch.randn(config.frames, width))
        self.decoder = nn.ModuleList(
            TransformerLayer(width, config.hidden // 2, config.heads, config.dropout) for _ in range(config.layers - 1)
        )
        self.head = JointHead(width, config.joints_in, 2)

    def forward(self, windows: Tensor, hidden_frames: Tensor, hidden_joints: Tensor) -> Tensor:
        """Reconstruct windows that are masked by one pattern, the same for the whole batch.

        Args:
            windows: [B, N, J, 2] screen coordinates; NaN where a joint is missing in the data.
            hidden_frames: bool [N], on the CPU (another device works, but forces a synchronisation).
            hidden_joints: bool [N, J], joints to hide; also in hidden frames, which still count in the BatchNorms.
        Returns:
            [B, N, J, 2] in time order (the official network returns the visible frames first), to be compared with
            `target`.
        """
        visible = upload(torch.nonzero(~hidden_frames).squeeze(1), windows.device)
        hidden = upload(hidden_joints, windows.device).unsqueeze(-1)
        embedded = self.embedding(windows.masked_fill(hidden, float("nan")))
        encoded = self.to_decoder(self.encoded_norm(self.temporal(embedded, visible)))
        # Attention and BatchNorm do not depend on the order of tokens, so time order is restored before the decoder.
        tokens = self.hidden_frame_token.to(encoded.dtype).expand(len(windows), self.config.frames, -1)
        decoded = tokens.index_copy(1, visible, encoded) + self.decoder_position
        for layer in self.decoder:
            decoded = layer(decoded)
        reconstructed: Tensor = self.head(decoded)
        return reconstructed

    def target(self, clean: Tensor) -> Tensor:
        """The target of `forward`, from clean windows [B, N, J, 2] without missing joints."""
        return person_centre(clean)[0] if self.config.person_centred else clean

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the masks of one training step; see the function `draw_masks`."""
        return draw_masks(self.config, temporal_rate, joints, generator)

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """The training loss, a scalar, of windows and clean windows [B, N, J, 2] under the masks of `draw_masks`.

        `joints` and `lift` are not used: they are for networks that also handle 3D poses.
        """
        reconstructed: Tensor = self(windows, *masks)
        # Under autocast the network returns bfloat16; the distance is computed in full precision.
        return masked_pose_loss(reconstructed.float(), self.target(clean))

    def encoder_state(self) -> dict[str, Tensor]:
        """The initial tensors of stage II for an `STMO` of the same config; load them with `strict=False`."""
        left_out = () if self.config.mask_token else ("embedding.mask_token",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(("embedding.", "temporal.")) and name not in left_out
        }


def masked_pose_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Mean distance over all frames and joints, hidden or not. [B, N, J, 2] (or 3) twice -> scalar.

    Source: P-STMO, stage I, official code; the paper describes a likelihood instead.
    """
    return mean_distance(reconstruction, target)


class WindowConfig(Protocol):
    """What masks are drawn for: frames of a window and joints of a frame."""

    @property
    def frames(self) -> int: ...

    @property
    def joints_in(self) -> int: ...


def draw_masks(
    config: WindowConfig, temporal_rate: float, joints: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the masks of one training step.

    Any joint may be hidden, as in the paper; the official code never hides the last one.

    Args:
        temporal_rate: fraction of frames to hide, in [0, 1); int(N * rate) of them are.
        joints: joints to hide in each frame, at most J.
        generator: on the CPU.
    Returns:
        Hidden frames, bool [N]; hidden joints, bool [N, J] with `joints` of them per frame. Both on the CPU.
    """
    # The ranks of random numbers are a random permutation, so exactly k of them are below k.
    frame_ranks = torch.rand(config.frames, generator=generator).argsort()
    joint_ranks = torch.rand(config.frames, config.joints_in, generator=generator).argsort(dim=1)
    return frame_ranks < int(config.frames * temporal_rate), joint_ranks < joints
