"""Official MPM checkpoints: convert them to our networks and back.

Source: MPM, official code, classes `Model` (lifting), `MPMmask2` (pretraining) and `MPMmask` (completion).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.mpm.completion import COMPLETION_LAYERS, MPMCompletion, MPMCompletionConfig
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.official.checkpoint import HEADS, Checkpoint, Source
from poselift.lifters.official.matches import (
    Match,
    TensorLayout,
    aggregator_matches,
    batch_norm_matches,
    head_matches,
    load_official,
    product_matches,
    to_official,
    transformer_matches,
    unused_norms,
)
from poselift.lifters.pstmo.network import STMOConfig

_TENSOR_OF_3D_POSES = "fcn_dec3d.1.weight"  # lifting networks do not have it


def import_mpm(source: Source) -> MPM:
    """Read an official checkpoint of the lifting network (pose estimation).

    Returns:
        The lifter, float32, in eval mode.
    Raises:
        InvalidCheckpoint: not a file of tensors, or tensors of another network; the message names those at fault.
    """
    checkpoint = Checkpoint.read(source)
    config = _config(checkpoint, joints_out=checkpoint.size("fcn.1.weight", 0) // 3)
    with torch.device("meta"):
        expected = export_mpm(MPM(config))
    checkpoint.check_fit(expected)
    lifter = MPM(config)
    load_official(lifter, lifter_matches(config), checkpoint.tensors)
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
    load_official(model, pose_space_matches(config, decoder_layers), checkpoint.tensors)
    return model.eval()


def import_completion(source: Source) -> MPMCompletion:
    """Read an official checkpoint of the completion network.

    Returns:
        The network, float32, in eval mode.
    Raises:
        InvalidCheckpoint: as `import_mpm`, or it is the pretraining network, which has shorter decoders.
    """
    space = import_pose_space(source)
    layers = len(space.joints_decoder)
    if layers != COMPLETION_LAYERS:
        raise InvalidCheckpoint(
            f"This is no network that completes: its decoders have {layers} layers, not {COMPLETION_LAYERS}. "
            "Networks for pretraining are not served."
        )
    sizes = {name: getattr(space.config, name) for name in ("frames", "channels", "hidden", "layers", "heads")}
    joints = space.config.joints_out
    network = MPMCompletion(MPMCompletionConfig(**sizes, joints_in=joints, joints_out=joints))
    network.space.load_state_dict(space.state_dict())
    return network.eval()


def import_served(source: Source) -> tuple[str, MPM | MPMCompletion]:
    """Read an official checkpoint of one of the two MPM networks that are served: for lifting or for completion.

    Returns:
        The system, and the network.
    Raises:
        InvalidCheckpoint: as `import_mpm` and `import_completion`.
    """
    if _TENSOR_OF_3D_POSES in Checkpoint.read(source).tensors:
        return "mpm-completion", import_completion(source)
    return "mpm", import_mpm(source)


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
    """Convert a lifter to the state dict of an official lifting network (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has parts that the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official lifter knows neither missing joints nor person-centred input.")
    official = to_official(lifter, lifter_matches(lifter.config), lifter.config.frames)
    widths = dict.fromkeys(("shared_layers_temporal", "Transformer_reduce"), lifter.config.channels)
    return official | unused_norms(widths)


def export_pose_space(model: PoseSpace) -> dict[str, Tensor]:
    """Convert a masked network to the state dict of an official one (without the `module.` prefix).

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
    """The tensors of `MPM(config)` that an official lifting network has, too."""
    return [
        *_encoder_matches("embedding.encoder", config.layers),
        *aggregator_matches(len(config.strides)),
        *head_matches("centre_head", "fcn"),
        *head_matches("frames_head", "fcn_1"),
    ]


def pose_space_matches(config: MPMConfig, decoder_layers: int) -> list[Match]:
    """The tensors of `PoseSpace(config, decoder_layers)`."""
    matches = [
        *_encoder_matches("encoder", config.layers),
        *product_matches("joints_widen", "encoder3d.fc_1", TensorLayout.KERNEL_1),
        *batch_norm_matches("joints_widen_norm", "encoder3d.bn_1"),
        Match("keypoint_token", ("spatial_mask_token2d",), TensorLayout.LEADING),
        Match("joint_token", ("spatial_mask_token3d",), TensorLayout.LEADING),
        Match("encoded_norm.weight", ("encoder_LN.a_2",)),
        Match("encoded_norm.bias", ("encoder_LN.b_2",)),
        Match("hidden_frame_token", ("temporal_mask_token",), TensorLayout.LEADING),
        Match("decoder_position", ("dec_pos_embedding",), TensorLayout.BATCHED),
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
        yield from product_matches(f"{ours}.{mine}", theirs, TensorLayout.KERNEL_1)
    for mine, theirs in norms.items():
        yield from batch_norm_matches(f"{ours}.{mine}", theirs)
    yield Match("temporal.position", ("shared_layers_temporal.pos_embedding",), TensorLayout.BATCHED)
    for layer in range(layers):
        yield from transformer_matches(f"temporal.layers.{layer}", f"shared_layers_temporal.model.layers.{layer}")
