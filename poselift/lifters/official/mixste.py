"""Official MixSTE checkpoints: convert them to our network and back.

Source: official code at commit 72a36be.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.official.checkpoint import HEADS, Checkpoint, Source
from poselift.lifters.official.matches import Match, TensorLayout, load_official, product_matches, to_official


def import_mixste(source: Source) -> MixSTE:
    """Read an official checkpoint, `epoch_<n>.bin` or `best_epoch.bin`, or the state dict in it.

    A file of a training run also contains its optimiser and a pickled random generator; the generator is skipped
    without being created.

    Returns:
        The lifter, float32, in eval mode.
    Raises:
        InvalidCheckpoint: not a file of tensors, or tensors of another network; the message names those at fault.
    """
    checkpoint = Checkpoint.read(source, part="model_pos")
    try:
        config = MixSTEConfig(
            frames=checkpoint.size("Temporal_pos_embed", 1),
            channels=checkpoint.size("Temporal_pos_embed", 2),
            hidden=checkpoint.size("STEblocks.0.mlp.fc1.weight", 0),
            layers=checkpoint.count("STEblocks"),
            heads=HEADS,
            joints=checkpoint.size("Spatial_pos_embed", 1),
        )
    except InvalidArtifact as error:
        raise InvalidCheckpoint(f"{checkpoint.origin} is no MixSTE network: {error.message}") from error
    with torch.device("meta"):
        expected = export_mixste(MixSTE(config))
    checkpoint.check_fit(expected)
    lifter = MixSTE(config)
    load_official(lifter, lifter_matches(config), checkpoint.tensors)
    return lifter.eval()


def export_mixste(lifter: MixSTE) -> dict[str, Tensor]:
    """Convert a lifter to the state dict of an official network (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has a part that the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official network knows neither missing joints nor person-centred input.")
    return to_official(lifter, lifter_matches(lifter.config), lifter.config.frames)


def lifter_matches(config: MixSTEConfig) -> list[Match]:
    """The tensors of `MixSTE(config)` that an official network has, too."""
    matches = [
        *product_matches("widen", "Spatial_patch_to_embedding", TensorLayout.SAME),
        Match("joint_position", ("Spatial_pos_embed",), TensorLayout.BATCHED),
        Match("frame_position", ("Temporal_pos_embed",), TensorLayout.BATCHED),
        *product_matches("spatial_norm", "Spatial_norm", TensorLayout.SAME),
        *product_matches("temporal_norm", "Temporal_norm", TensorLayout.SAME),
        *product_matches("head_norm", "head.0", TensorLayout.SAME),
        *product_matches("head", "head.1", TensorLayout.SAME),
    ]
    for layer in range(config.layers):
        matches += _block_matches(f"spatial.{layer}", f"STEblocks.{layer}")
        matches += _block_matches(f"temporal.{layer}", f"TTEblocks.{layer}")
    return matches


def _block_matches(ours: str, official: str) -> Iterator[Match]:
    names = {
        "attention_norm": "norm1",
        "attention.query_key_value": "attn.qkv",
        "attention.out": "attn.proj",
        "network_norm": "norm2",
        "widen": "mlp.fc1",
        "narrow": "mlp.fc2",
    }
    for mine, theirs in names.items():
        yield from product_matches(f"{ours}.{mine}", f"{official}.{theirs}", TensorLayout.SAME)
