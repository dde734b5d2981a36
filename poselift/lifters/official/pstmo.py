"""Official P-STMO checkpoints of stage II: convert them to our modules and back.

Our modules omit the official tensors that nothing reads: norms that are never called, and rows of positions that are
sliced away. Importing drops them; exporting writes their initial values (ones and zeros).

Source: official code at commit aea43d0, `run.py` for the files and `model/` for the tensors that nothing reads.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
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
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.refine import RefineModule


def import_pstmo(source: Source, refine: Source | None = None) -> tuple[STMO, RefineModule | None]:
    """Read an official stage II checkpoint, and optionally that of its refine module.

    Returns:
        The lifter and the refine module, float32, in eval mode.
    Raises:
        InvalidCheckpoint: not a file of tensors, or tensors of another network; the message names those at fault.
    """
    checkpoint = Checkpoint.read(source)
    config = read_config(checkpoint, joints_out=checkpoint.size("fcn.1.weight", 0) // 3)
    with torch.device("meta"):
        expected = export_pstmo(STMO(config))
    checkpoint.check_fit(expected)
    lifter = STMO(config)
    load_official(lifter, lifter_matches(config), checkpoint.tensors)
    return lifter.eval(), None if refine is None else _import_refine(refine)


def export_pstmo(lifter: STMO) -> dict[str, Tensor]:
    """Convert a lifter to the state dict of an official stage II network (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has parts that the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official network knows neither missing joints nor person-centred input.")
    official = to_official(lifter, lifter_matches(lifter.config), lifter.config.frames)
    norms = {"Transformer": lifter.config.channels, "Transformer_reduce": lifter.config.channels}
    return official | unused_norms(norms)


def official_parameters(config: STMOConfig) -> int:
    """Count the parameters of the official network, including those that never change its output."""
    with torch.device("meta"):
        official = export_pstmo(STMO(config))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in official.items() if not name.endswith(buffers))


def _import_refine(source: Source) -> RefineModule:
    checkpoint = Checkpoint.read(source)
    joints = checkpoint.size("post_refine.3.weight", 0) // 2
    with torch.device("meta"):
        expected = RefineModule(max(joints, 1)).state_dict()
    names = {"post_refine.0": "widen", "post_refine.3": "narrow"}
    matches = [match for theirs, ours in names.items() for match in product_matches(ours, theirs, TensorLayout.SAME)]
    checkpoint.check_fit({match.official[0]: expected[match.ours] for match in matches})
    refine = RefineModule(joints)
    load_official(refine, matches, checkpoint.tensors)
    return refine.eval()


def read_config(checkpoint: Checkpoint, joints_out: int) -> STMOConfig:
    """The sizes of a network, from the shapes of its tensors.

    Raises:
        InvalidCheckpoint: the checkpoint is not of P-STMO.
    """
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
    """The tensors of `STMO(config)` that an official stage II network has, too."""
    return [
        *encoder_matches(config),
        *aggregator_matches(len(config.strides)),
        *head_matches("centre_head", "fcn"),
        *head_matches("frames_head", "fcn_1"),
    ]


def encoder_matches(config: STMOConfig) -> Iterator[Match]:
    """The tensors of the embedding and the temporal encoder."""
    ours, official = "embedding.encoder", "encoder"
    products = {"widen": "fc_1", "inner_1": "layers.0.w1", "inner_2": "layers.0.w2", "narrow": "fc_2"}
    norms = {"widen_norm": "bn_1", "inner_norm_1": "layers.0.batch_norm1", "inner_norm_2": "layers.0.batch_norm2"}
    for mine, theirs in products.items():
        yield from product_matches(f"{ours}.{mine}", f"{official}.{theirs}", TensorLayout.KERNEL_1)
    for mine, theirs in norms.items():
        yield from batch_norm_matches(f"{ours}.{mine}", f"{official}.{theirs}")
    yield Match("temporal.position", ("Transformer.pos_embedding",), TensorLayout.ROWS)
    for layer in range(config.layers):
        yield from transformer_matches(f"temporal.layers.{layer}", f"Transformer.model.layers.{layer}")
