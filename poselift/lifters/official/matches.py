"""Pairs of our tensors and the official ones, and the conversion between their layouts.

Each importer lists the `Match`es of its network; those of the blocks that P-STMO and MPM share are here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import TAPS


class TensorLayout(Enum):
    """The shape of an official tensor, relative to ours."""

    SAME = auto()
    KERNEL_1 = auto()  # [out, in, 1] for our [out, in]
    TAPS = auto()  # [out, in, 3] for our tap-major [out, 3 * in]
    ROWS = auto()  # [1, N, C] for our [rows in use, C]; only the first rows are in use
    LEADING = auto()  # [1, 1, C] for our [C]
    BATCHED = auto()  # [1, ...] for our [...]
    STACKED = auto()  # separate query, key and value for our single tensor


@dataclass(frozen=True)
class Match:
    """One of our tensors, and the official one (or three) with the same values."""

    ours: str
    official: tuple[str, ...]
    layout: TensorLayout = TensorLayout.SAME


def unused_norms(channels: Mapping[str, int]) -> dict[str, Tensor]:
    """Initial values of the norms that the official encoders own but never call; width by owner."""
    gains = {f"{owner}.model.norm.a_2": torch.ones(width) for owner, width in channels.items()}
    shifts = {f"{owner}.model.norm.b_2": torch.zeros(width) for owner, width in channels.items()}
    return gains | shifts


def aggregator_matches(layers: int) -> Iterator[Match]:
    """The tensors of an `Aggregator` with this number of layers."""
    for number in range(3):
        official = f"Transformer_reduce.model.pos_embedding_{number + 1}"
        yield Match(f"aggregator.positions.{number}", (official,), TensorLayout.ROWS)
    for layer in range(layers):
        ours, official = f"aggregator.layers.{layer}", f"Transformer_reduce.model.layers.{layer}"
        yield from _attention_matches(ours, official)
        yield from product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", TensorLayout.KERNEL_1)
        yield from product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", TensorLayout.TAPS)


def transformer_matches(ours: str, official: str) -> Iterator[Match]:
    """The tensors of a `TransformerLayer`."""
    yield from _attention_matches(ours, official)
    yield from product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", TensorLayout.SAME)
    yield from product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", TensorLayout.SAME)


def _attention_matches(ours: str, official: str) -> Iterator[Match]:
    linears = f"{official}.self_attn.linears"
    for kind in ("weight", "bias"):
        stacked = tuple(f"{linears}.{index}.{kind}" for index in range(3))
        yield Match(f"{ours}.attention.query_key_value.{kind}", stacked, TensorLayout.STACKED)
        yield Match(f"{ours}.attention.out.{kind}", (f"{linears}.3.{kind}",))
    for index, norm in enumerate(("attention_norm", "network_norm")):
        yield Match(f"{ours}.{norm}.weight", (f"{official}.sublayer.{index}.norm.a_2",))
        yield Match(f"{ours}.{norm}.bias", (f"{official}.sublayer.{index}.norm.b_2",))


def head_matches(ours: str, official: str) -> Iterator[Match]:
    """The tensors of a `JointHead`."""
    yield from batch_norm_matches(f"{ours}.norm", f"{official}.0")
    yield from product_matches(f"{ours}.out", f"{official}.1", TensorLayout.KERNEL_1)


def product_matches(ours: str, official: str, weight_layout: TensorLayout) -> Iterator[Match]:
    """The tensors of a `Linear`."""
    yield Match(f"{ours}.weight", (f"{official}.weight",), weight_layout)
    yield Match(f"{ours}.bias", (f"{official}.bias",))


def batch_norm_matches(ours: str, official: str) -> Iterator[Match]:
    """The tensors of a `BatchNorm1d`."""
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield Match(f"{ours}.{name}", (f"{official}.{name}",))


def to_ours(match: Match, official: Mapping[str, Tensor], ours: Tensor) -> Tensor:
    """Convert official tensors (weights, or their gradients) to the layout of our tensor `ours`."""
    first = official[match.official[0]]
    match match.layout:
        case TensorLayout.SAME:
            return first
        case TensorLayout.KERNEL_1:
            return first.squeeze(-1)
        case TensorLayout.TAPS:
            return first.transpose(1, 2).flatten(1)
        case TensorLayout.ROWS:
            return first[0, : len(ours)]
        case TensorLayout.LEADING:
            return first[0, 0]
        case TensorLayout.BATCHED:
            return first[0]
        case TensorLayout.STACKED:
            return torch.cat([official[name] for name in match.official])


def load_official(module: nn.Module, matches: Iterable[Match], official: Mapping[str, Tensor]) -> None:
    """Load the values of official tensors into every tensor of a module."""
    ours = module.state_dict()
    module.load_state_dict({match.ours: to_ours(match, official, ours[match.ours]) for match in matches})


def to_official(module: nn.Module, matches: Iterable[Match], frames: int) -> dict[str, Tensor]:
    """Convert a module's tensors to their official names and shapes; unused rows are zero.

    Args:
        frames: window length, N.
    """
    ours = module.state_dict()
    official: dict[str, Tensor] = {}
    for match in matches:
        tensors = _official_tensors(match, ours[match.ours], frames)
        official.update(zip(match.official, tensors, strict=True))
    return official


def _official_tensors(match: Match, ours: Tensor, frames: int) -> tuple[Tensor, ...]:
    match match.layout:
        case TensorLayout.SAME:
            return (ours.clone(),)
        case TensorLayout.KERNEL_1:
            return (ours.unsqueeze(-1).clone(),)
        case TensorLayout.TAPS:
            return (ours.view(len(ours), TAPS, -1).transpose(1, 2).contiguous(),)
        case TensorLayout.ROWS:
            unused = ours.new_zeros(frames - len(ours), ours.shape[1])
            return (torch.cat((ours, unused)).unsqueeze(0),)
        case TensorLayout.LEADING:
            return (ours[None, None].clone(),)
        case TensorLayout.BATCHED:
            return (ours[None].clone(),)
        case TensorLayout.STACKED:
            return tuple(part.clone() for part in ours.chunk(3))
