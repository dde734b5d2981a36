"""What P-STMO from sequence to sequence can start with out of what a smaller or a many-to-one P-STMO has learnt."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import TemporalEncoder, TransformerLayer
from poselift.lifters.frame_features import n_features
from poselift.lifters.pstmo.network import FrameEmbedding
from poselift.lifters.pstmo.sequence import SequenceEncoder, SequenceSTMOConfig

_POSITION = "temporal.position"
_FIRST_PRODUCT = "embedding.encoder.widen.weight"
_LAST_BIAS = "embedding.encoder.narrow.bias"
_KEPT = ("embedding.", "temporal.layers.", "frames_head.")


def start_from(config: SequenceSTMOConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that the network can start with, out of those of its kind or of a many-to-one `STMO`.

    A many-to-one network has learnt the embedding, the encoder and a head for all frames; its aggregator is left out.
    It adds a position to each frame. Here the mean position goes into the last bias of the embedding, and what the
    differences do to attention becomes biases by distance, as `_distance_bias` finds them. The poses of the shipped
    model got better by that, not worse.

    Args:
        config: of the network that starts; its inner networks may be wider, and after a many-to-one network it may have
            more layers, and take and find more.
        state: tensors by name.
    Returns:
        Tensors by name; those of a network that does not fit as they are.
    """
    if _POSITION not in state:
        return _widened(config, state)
    if state[_POSITION].shape != (config.frames, config.channels) or _count_layers(state) > config.layers:
        return dict(state)
    kept = {name: tensor for name, tensor in state.items() if name.startswith(_KEPT)}
    kept[_LAST_BIAS] = state[_LAST_BIAS] + state[_POSITION].mean(dim=0)
    biases = {"temporal.bias.by_distance": _distance_bias(config, state, kept)}
    grown = _grown(config, kept)
    return grown | biases | _new_layers(config, grown)


def _grown(config: SequenceSTMOConfig, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors at the sizes of a configuration: what is new reads or adds nothing yet."""
    grown = _widened(config, kept)
    features = n_features(config.joints_in, person_centred=config.person_centred, known=config.known)
    grown[_FIRST_PRODUCT] = _with_columns(kept[_FIRST_PRODUCT], features)
    if config.gravity:
        weight, bias = kept["frames_head.out.weight"], kept["frames_head.out.bias"]
        grown["frames_head.out.weight"] = torch.cat([weight, weight.new_zeros(3, config.channels)])
        grown["frames_head.out.bias"] = torch.cat([bias, bias.new_tensor([0.0, 1.0, 0.0])])  # falling is down
    return grown


def _widened(config: SequenceSTMOConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with inner networks as wide as those of a configuration: what is new adds nothing yet."""
    widened = dict(state)
    for layer in range(_count_layers(state)):
        prefix = f"temporal.layers.{layer}."
        widen = nn.Linear(config.channels, config.hidden)
        for part, new in (("weight", widen.weight), ("bias", widen.bias)):
            old = state[f"{prefix}widen.{part}"]
            widened[f"{prefix}widen.{part}"] = torch.cat([old, new.detach()[len(old) :]])
        widened[f"{prefix}narrow.weight"] = _with_columns(state[f"{prefix}narrow.weight"], config.hidden)
    return widened


def _with_columns(weight: Tensor, columns: int) -> Tensor:
    return torch.cat([weight, weight.new_zeros(len(weight), max(0, columns - weight.shape[1]))], dim=1)


@torch.no_grad()
def _distance_bias(config: SequenceSTMOConfig, state: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Tensor:
    """What positions do to the scores of attention, by distance, [layers, heads, 2 * reach + 1].

    A window in which nobody is seen has nothing but positions in it. It goes through the encoder with positions, and
    through the one that begins here; where a layer of the two scores a distance otherwise on average, that is its bias.
    """
    embedding, begun = FrameEmbedding(config).eval(), _encoder(config, kept)
    embedding.load_state_dict(_part(kept, "embedding."))
    hidden = _hidden(kept)
    before = TemporalEncoder(config.frames, config.channels, hidden, len(begun.layers), config.heads, 0.0).eval()
    before.load_state_dict(_part(state, "temporal."))
    blank = embedding(torch.full((1, config.frames, config.joints_in, 2), torch.nan if config.mask_token else 0.0))
    with_positions = blank - before.position.mean(dim=0) + before.position
    without = blank
    biases = torch.zeros(config.layers, config.heads, 2 * config.frames - 1)
    for number, (old, new) in enumerate(zip(before.layers, begun.layers, strict=True)):
        old, new = cast(TransformerLayer, old), cast(TransformerLayer, new)
        bias = _scores_by_distance(old, with_positions) - _scores_by_distance(new, without)
        biases[number] = bias - bias.mean(dim=1, keepdim=True)
        begun.bias.by_distance.copy_(biases[: len(begun.layers)])
        with_positions = old(with_positions)
        without = new(without, begun.bias(torch.arange(config.frames))[number])
    return biases


def _new_layers(config: SequenceSTMOConfig, grown: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of zeros that make additional layers the identity."""
    zeros = {}
    for layer in range(_count_layers(grown), config.layers):
        for product in ("attention.out", "narrow"):
            for part in ("weight", "bias"):
                like = grown[f"temporal.layers.0.{product}.{part}"]
                zeros[f"temporal.layers.{layer}.{product}.{part}"] = torch.zeros_like(like)
    return zeros


def _count_layers(kept: Mapping[str, Tensor]) -> int:
    return 1 + max((int(name.split(".")[2]) for name in kept if name.startswith("temporal.layers.")), default=-1)


def _hidden(kept: Mapping[str, Tensor]) -> int:
    return len(kept["temporal.layers.0.widen.bias"])


def _encoder(config: SequenceSTMOConfig, kept: Mapping[str, Tensor]) -> SequenceEncoder:
    """An encoder of as many layers as there are weights for."""
    layers = _count_layers(kept)
    encoder = SequenceEncoder(config.channels, _hidden(kept), layers, config.heads, 0.0, reach=config.frames - 1)
    encoder.load_state_dict(_part(kept, "temporal."), strict=False)
    return encoder.eval()


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _scores_by_distance(layer: TransformerLayer, tokens: Tensor) -> Tensor:
    """Mean scores of a layer's attention over one window [1, T, C], from -(T - 1) to T - 1: [heads, 2 * T - 1]."""
    _, length, channels = tokens.shape
    heads = layer.attention.heads
    stacked = layer.attention.query_key_value(layer.attention_norm(tokens))
    query, key, _ = stacked.view(length, 3, heads, channels // heads).permute(1, 2, 0, 3)
    scores = query @ key.transpose(-1, -2) / math.sqrt(channels // heads)
    distances = range(1 - length, length)
    return torch.stack([scores.diagonal(distance, -2, -1).mean(dim=-1) for distance in distances], dim=-1)
