"""Official P-STMO checkpoints, into our modules and back.

Our modules do without the official tensors that nothing reads: norms that are never called, rows of positions that are
sliced away. Importing drops them, exporting writes them as a fresh official network has them (ones and zeros).

Source: official code at commit aea43d0, `run.py` for the files and `model/` for the tensors that nothing reads.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
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
from poselift.lifters.pstmo import STMO, MaskedPoseModel, RefineModule, STMOConfig


def import_pstmo(source: Source, refine: Source | None = None) -> tuple[STMO, RefineModule | None]:
    """Read an official stage II checkpoint, and the one of its refine module if there is one.

    Returns:
        The lifter and the refine module, float32, in eval mode.
    Raises:
        InvalidCheckpoint: no file of tensors, or tensors that are no such network; the ones at fault are named.
    """
    checkpoint = Checkpoint.read(source)
    config = _config(checkpoint, joints_out=checkpoint.size("fcn.1.weight", 0) // 3)
    with torch.device("meta"):
        expected = export_pstmo(STMO(config))
    checkpoint.check_fit(expected)
    lifter = STMO(config)
    checkpoint.load_into(lifter, lifter_matches(config))
    return lifter.eval(), None if refine is None else _import_refine(refine)


def import_pretrained(source: Source) -> MaskedPoseModel:
    """Read an official stage I checkpoint (masked pose modelling).

    Returns:
        The model, float32, in eval mode.
    Raises:
        InvalidCheckpoint: as `import_pstmo`.
    """
    checkpoint = Checkpoint.read(source)
    config = _config(checkpoint, joints_out=STMOConfig.joints_out)
    with torch.device("meta"):
        expected = export_pretrained(MaskedPoseModel(config))
    checkpoint.check_fit(expected)
    model = MaskedPoseModel(config)
    checkpoint.load_into(model, pretraining_matches(config))
    return model.eval()


def export_pstmo(lifter: STMO) -> dict[str, Tensor]:
    """Write a lifter as the state dict an official stage II network loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has parts the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official network knows neither missing joints nor person-centred input.")
    official = to_official(lifter, lifter_matches(lifter.config), lifter.config.frames)
    norms = {"Transformer": lifter.config.channels, "Transformer_reduce": lifter.config.channels}
    return official | unused_norms(norms)


def official_parameters(config: STMOConfig) -> int:
    """Parameters of the official network of these sizes, with those that never change its output."""
    with torch.device("meta"):
        official = export_pstmo(STMO(config))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in official.items() if not name.endswith(buffers))


def export_pretrained(model: MaskedPoseModel) -> dict[str, Tensor]:
    """Write a stage I model as the state dict an official one loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the model has parts the official network lacks.
    """
    if model.config.person_centred:
        raise InvalidCheckpoint("An official network does not know person-centred input.")
    official = to_official(model, pretraining_matches(model.config), model.config.frames)
    norms = {"Transformer": model.config.channels, "Transformer_dec": model.config.channels // 2}
    return official | unused_norms(norms)


def _import_refine(source: Source) -> RefineModule:
    checkpoint = Checkpoint.read(source)
    joints = checkpoint.size("post_refine.3.weight", 0) // 2
    with torch.device("meta"):
        expected = RefineModule(max(joints, 1)).state_dict()
    names = {"post_refine.0": "widen", "post_refine.3": "narrow"}
    matches = [match for theirs, ours in names.items() for match in product_matches(ours, theirs, Form.SAME)]
    checkpoint.check_fit({match.official[0]: expected[match.ours] for match in matches})
    refine = RefineModule(joints)
    checkpoint.load_into(refine, matches)
    return refine.eval()


def _config(checkpoint: Checkpoint, joints_out: int) -> STMOConfig:
    try:
        return STMOConfig(
            frames=checkpoint.size("Transformer.pos_embedding", 1),
            channels=checkpoint.size("encoder.fc_2.weight", 0),
            hidden=checkpoint.size("Transformer.model.layers.0.feed_forward.w_1.weight", 0),
            layers=checkpoint.count("Transformer.model.layers"),
            heads=HEADS,
            joints_in=checkpoint.size("encoder.fc_1.weight", 1) // 2,
            joints_out=joints_out,
        )
    except InvalidArtifact as error:
        raise InvalidCheckpoint(f"{checkpoint.origin} is no P-STMO network: {error.message}") from error


def lifter_matches(config: STMOConfig) -> list[Match]:
    """Every tensor of `STMO(config)` that an official stage II network holds too."""
    return [
        *_encoder_matches(config),
        *aggregator_matches(len(config.strides)),
        *head_matches("centre_head", "fcn"),
        *head_matches("frames_head", "fcn_1"),
    ]


def pretraining_matches(config: STMOConfig) -> list[Match]:
    """Every tensor of `MaskedPoseModel(config)`."""
    matches = [
        *_encoder_matches(config),
        Match("embedding.mask_token", ("spatial_mask_token",), Form.LEADING),
        Match("encoded_norm.weight", ("encoder_LN.a_2",)),
        Match("encoded_norm.bias", ("encoder_LN.b_2",)),
        Match("to_decoder.weight", ("encoder_to_decoder.weight",)),
        Match("hidden_frame_token", ("mask_token",), Form.LEADING),
        Match("decoder_position", ("dec_pos_embedding",), Form.ROWS),
        *head_matches("head", "fcn_dec"),
    ]
    for layer in range(config.layers - 1):
        matches += transformer_matches(f"decoder.{layer}", f"Transformer_dec.model.layers.{layer}")
    return matches


def _encoder_matches(config: STMOConfig) -> Iterator[Match]:
    ours, official = "embedding.encoder", "encoder"
    products = {"widen": "fc_1", "inner_1": "layers.0.w1", "inner_2": "layers.0.w2", "narrow": "fc_2"}
    norms = {"widen_norm": "bn_1", "inner_norm_1": "layers.0.batch_norm1", "inner_norm_2": "layers.0.batch_norm2"}
    for mine, theirs in products.items():
        yield from product_matches(f"{ours}.{mine}", f"{official}.{theirs}", Form.KERNEL_1)
    for mine, theirs in norms.items():
        yield from batch_norm_matches(f"{ours}.{mine}", f"{official}.{theirs}")
    yield Match("temporal.position", ("Transformer.pos_embedding",), Form.ROWS)
    for layer in range(config.layers):
        yield from transformer_matches(f"temporal.layers.{layer}", f"Transformer.model.layers.{layer}")
