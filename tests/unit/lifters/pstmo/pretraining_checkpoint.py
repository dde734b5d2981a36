"""Official checkpoints of stage I, masked pose modelling: the reference that pretraining is compared with."""

import torch
from torch import Tensor

from poselift.errors import InvalidCheckpoint
from poselift.lifters.official.checkpoint import Checkpoint, Source
from poselift.lifters.official.matches import (
    Match,
    TensorLayout,
    head_matches,
    load_official,
    to_official,
    transformer_matches,
    unused_norms,
)
from poselift.lifters.official.pstmo import encoder_matches, read_config
from poselift.lifters.pstmo.network import STMOConfig
from poselift.lifters.pstmo.pretraining import MaskedPoseModel


def import_pretrained(source: Source) -> MaskedPoseModel:
    """Read an official stage I checkpoint (masked pose modelling).

    Returns:
        The model, float32, in eval mode.
    Raises:
        InvalidCheckpoint: as `import_pstmo`.
    """
    checkpoint = Checkpoint.read(source)
    config = read_config(checkpoint, joints_out=STMOConfig.joints_out)
    with torch.device("meta"):
        expected = export_pretrained(MaskedPoseModel(config))
    checkpoint.check_fit(expected)
    model = MaskedPoseModel(config)
    load_official(model, pretraining_matches(config), checkpoint.tensors)
    return model.eval()


def export_pretrained(model: MaskedPoseModel) -> dict[str, Tensor]:
    """Convert a stage I model to the state dict of an official one (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the model has parts the official network lacks.
    """
    if model.config.person_centred:
        raise InvalidCheckpoint("An official network does not know person-centred input.")
    official = to_official(model, pretraining_matches(model.config), model.config.frames)
    norms = {"Transformer": model.config.channels, "Transformer_dec": model.config.channels // 2}
    return official | unused_norms(norms)


def pretraining_matches(config: STMOConfig) -> list[Match]:
    """The tensors of `MaskedPoseModel(config)`."""
    matches = [
        *encoder_matches(config),
        Match("embedding.mask_token", ("spatial_mask_token",), TensorLayout.LEADING),
        Match("encoded_norm.weight", ("encoder_LN.a_2",)),
        Match("encoded_norm.bias", ("encoder_LN.b_2",)),
        Match("to_decoder.weight", ("encoder_to_decoder.weight",)),
        Match("hidden_frame_token", ("mask_token",), TensorLayout.LEADING),
        Match("decoder_position", ("dec_pos_embedding",), TensorLayout.ROWS),
        *head_matches("head", "fcn_dec"),
    ]
    for layer in range(config.layers - 1):
        matches += transformer_matches(f"decoder.{layer}", f"Transformer_dec.model.layers.{layer}")
    return matches
