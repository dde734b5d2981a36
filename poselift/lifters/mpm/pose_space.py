"""The network that pretrains MPM and completes poses: keypoints and 3D poses in one space.

Shapes: B windows, N frames of a window, J joints, C channels. A joint with a NaN coordinate is missing.

Source: MPM, official code, classes `MPMmask2` (pretraining) and `MPMmask` (completion).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters.blocks import (
    LEAK,
    DeviationNorm,
    FrameEncoder,
    JointHead,
    TemporalEncoder,
    TransformerLayer,
    in_float32,
)
from poselift.lifters.constants import upload
from poselift.lifters.frame_features import frame_features, n_features, person_centre
from poselift.lifters.mpm.network import MPMConfig


class Reconstruction(NamedTuple):
    """The output of `PoseSpace`.

    Attributes:
        keypoints: [B, N, J, 2], to be compared with `PoseSpace.target`; None for a window of 3D poses.
        joints: [B, N, J, 3]; None for a window of keypoints without `lift`.
    """

    keypoints: Tensor | None
    joints: Tensor | None


class PoseSpace(nn.Module):
    """Reconstruct windows of keypoints or of 3D poses with hidden frames and joints; also lift the former.

    Keypoints and 3D poses have a first layer and a decoder each; all layers in between are shared, and the encoder is
    that of the lifter. Hidden joints are replaced by a token; hidden frames skip the temporal encoder. The decoders are
    as wide as the encoder.
    """

    def __init__(self, config: MPMConfig, decoder_layers: int) -> None:
        """Create the network with new weights.

        Args:
            decoder_layers: layers of each of the two decoders.
        Raises:
            InvalidArtifact: keypoints and poses have different numbers of joints.
        """
        super().__init__()
        if config.joints_in != config.joints_out:
            raise InvalidArtifact("Keypoints and 3D poses in one space have the same joints.", path="network.joints_in")
        self.config = config
        joints, channels, dropout = config.joints_in, config.channels, config.dropout
        self.keypoint_token = nn.Parameter(torch.randn(2))
        self.joint_token = nn.Parameter(torch.randn(3))
        self.encoder = FrameEncoder(n_features(joints, person_centred=config.person_centred), channels, dropout)
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
    ) -> Reconstruction:
        """Reconstruct windows from their visible part.

        Args:
            windows: [B, N, J, 2] screen coordinates, or [B, N, J, 3] root-relative metres; NaN where a joint is
                missing.
            hidden_joints: bool, broadcastable to [B, N, J]: further joints to hide.
            hidden_frames: bool [N]; None hides no frame.
            lift: whether windows of keypoints are also lifted to 3D poses.
        Returns:
            Frames in time order.
        """
        if hidden_joints is not None:
            windows = windows.masked_fill(upload(hidden_joints, windows.device).unsqueeze(-1), float("nan"))
        flat = windows.shape[-1] == 2
        token, centred = (self.keypoint_token, self.config.person_centred) if flat else (self.joint_token, False)
        features = frame_features(windows, token, person_centred=centred)
        decoded = self._decoder_input(self.encoder(features) if flat else self._encode_joints(features), hidden_frames)
        return Reconstruction(
            keypoints=self.keypoints_head(_apply(self.keypoints_decoder, decoded)) if flat else None,
            joints=self.joints_head(_apply(self.joints_decoder, decoded)) if lift or not flat else None,
        )

    def target(self, clean: Tensor) -> Tensor:
        """The target of `forward`'s keypoints, from clean windows [B, N, J, 2] without missing joints."""
        return person_centre(clean)[0] if self.config.person_centred else clean

    def complete(self, joints: Tensor) -> Tensor:
        """Fill in the missing (NaN) joints of 3D poses [B, N, J, 3]; the others stay as they are."""
        reconstructed = self(joints).joints
        return torch.where(joints.isnan().any(dim=-1, keepdim=True), reconstructed, joints)

    def embed_joints(self, joints: Tensor) -> Tensor:
        """Map 3D poses [..., J, 3], NaN where a joint is missing, to features [..., C]."""
        return self._encode_joints(joint_features(joints, self.joint_token))

    def decode_joints(self, embedded: Tensor) -> Tensor:
        """Map the features of whole windows, [B, N, C], to 3D poses [B, N, J, 3]."""
        joints: Tensor = self.joints_head(_apply(self.joints_decoder, self._decoder_input(embedded, None)))
        return joints

    def lifter_state(self) -> dict[str, Tensor]:
        """The initial tensors for an `MPM` of the same config that learns to lift; load them with `strict=False`."""
        state = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("temporal.")}
        state |= {f"embedding.encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        return state | ({"embedding.mask_token": self.keypoint_token.detach()} if self.config.mask_token else {})

    def _encode_joints(self, features: Tensor) -> Tensor:
        widened = self.joints_widen_norm(in_float32(self.joints_widen, features.flatten(0, -2)))
        encoded = self.encoder.narrow_features(self.dropout(F.leaky_relu(widened, LEAK)))
        return encoded.view(*features.shape[:-1], -1)

    def _decoder_input(self, embedded: Tensor, hidden_frames: Tensor | None) -> Tensor:
        if hidden_frames is None:
            tokens: Tensor = self.encoded_norm(self.temporal(embedded))
        else:
            visible = upload(torch.nonzero(~hidden_frames).squeeze(1), embedded.device)
            encoded = self.encoded_norm(self.temporal(embedded, visible))
            hidden = self.hidden_frame_token.to(encoded.dtype).expand(embedded.shape)
            tokens = hidden.index_copy(1, visible, encoded)
        return tokens + self.decoder_position


def joint_features(joints: Tensor, token: Tensor) -> Tensor:
    """The input of the first layer of 3D poses, the token [3] for a missing joint: [..., J, 3] -> [..., 3 * J]."""
    return torch.where(joints.isnan().any(dim=-1, keepdim=True), token, joints).flatten(-2)


def _decoder(config: MPMConfig, layers: int) -> nn.ModuleList:
    return nn.ModuleList(
        TransformerLayer(config.channels, config.hidden, config.heads, config.dropout) for _ in range(layers)
    )


def _apply(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
