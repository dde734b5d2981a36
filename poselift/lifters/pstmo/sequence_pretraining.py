"""Stage I of P-STMO from sequence to sequence: masked pose modelling with the same encoder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import DeviationNorm, JointHead
from poselift.lifters.constants import upload
from poselift.lifters.frame_features import person_centre
from poselift.lifters.pstmo.network import FrameEmbedding
from poselift.lifters.pstmo.pretraining import draw_masks, masked_pose_loss
from poselift.lifters.pstmo.sequence import SequenceEncoder, SequenceSTMOConfig, sequence_encoder
from poselift.lifters.sizes import refuse_setting


class MaskedSequenceModel(nn.Module):
    """Rebuild whole windows from those whose frames and joints are partly hidden, as `MaskedPoseModel` does.

    Hidden frames skip the encoder, which knows by their distances where in time the visible ones are. The decoder is
    half as wide and one layer shorter, if there is more than one, and knows the same of all frames.

    Raises:
        InvalidArtifact: the heads cannot share half the channels.
    """

    lifts: ClassVar[bool] = False

    def __init__(self, config: SequenceSTMOConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels // 2
        if width % config.heads:
            refuse_setting(
                "channels", f"The decoder's {width} channels cannot be shared evenly by {config.heads} heads."
            )
        self.embedding = FrameEmbedding(replace(config, mask_token=True), known=config.known)
        self.temporal = sequence_encoder(config)
        self.encoded_norm = DeviationNorm(config.channels)
        self.to_decoder = nn.Linear(config.channels, width, bias=False)
        self.hidden_frame_token = nn.Parameter(torch.randn(width))
        self.decoder = SequenceEncoder(
            width,
            config.hidden // 2,
            max(1, config.layers - 1),
            config.heads,
            config.dropout,
            reach=config.frames - 1,
        )
        self.head = JointHead(width, config.joints_in, 2)

    def forward(self, windows: Tensor, hidden_frames: Tensor, hidden_joints: Tensor) -> Tensor:
        """Rebuild windows, as `MaskedPoseModel.forward`: [B, N, J, 2], [N] and [N, J] -> [B, N, J, 2]."""
        visible = upload(torch.nonzero(~hidden_frames).squeeze(1), windows.device)
        hidden = upload(hidden_joints, windows.device).unsqueeze(-1)
        embedded = self.embedding(windows.masked_fill(hidden, float("nan")))
        encoded = self.to_decoder(self.encoded_norm(self.temporal(embedded, visible)))
        tokens = self.hidden_frame_token.to(encoded.dtype).expand(*windows.shape[:2], -1)
        rebuilt: Tensor = self.head(self.decoder(tokens.index_copy(1, visible, encoded)))
        return rebuilt

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """`draw_masks` for this network."""
        return draw_masks(self.config, temporal_rate, joints, generator)

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """What stage I minimises, as `MaskedPoseModel.loss`."""
        rebuilt: Tensor = self(windows, *masks)
        target = person_centre(clean)[0] if self.config.person_centred else clean
        # Under autocast the network answers in bfloat16; the distance is taken in full precision.
        return masked_pose_loss(rebuilt.float(), target)

    def encoder_state(self) -> dict[str, Tensor]:
        """The tensors that a `SequenceSTMO` of the same config starts stage II with; load with `strict=False`."""
        left_out = () if self.config.mask_token else ("embedding.mask_token",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(("embedding.", "temporal.")) and name not in left_out
        }
