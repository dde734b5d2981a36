"""How official tensors lie beside ours."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor, nn

from poselift.lifters.blocks import TAPS


class TensorLayout(Enum):
    """How an official tensor lies in memory beside ours."""

    SAME = auto()
    KERNEL_1 = auto()  # [out, in, 1] for our [out, in]
    TAPS = auto()  # [out, in, 3] for our tap-major [out, 3 * in]
    ROWS = auto()  # [1, N, C] for our [rows in use, C]; the first rows are the ones in use
    LEADING = auto()  # [1, 1, C] for our [C]
    BATCHED = auto()  # [1, ...] for our [...]
    STACKED = auto()  # query, key and value apart, for our one tensor


@dataclass(frozen=True)
class Match:
    """One of our tensors, and the official one (or three) it is made of."""

    ours: str
    official: tuple[str, ...]
    form: TensorLayout = TensorLayout.SAME


def unused_norms(channels: Mapping[str, int]) -> dict[str, Tensor]:
    """Norms that the official encoders own and never call, as they start; width by owner."""
    gains = {f"{owner}.model.norm.a_2": torch.ones(width) for owner, width in channels.items()}
    shifts = {f"{owner}.model.norm.b_2": torch.zeros(width) for owner, width in channels.items()}
    return gains | shifts


def aggregator_matches(layers: int) -> Iterator[Match]:
    """`Aggregator` of so many layers."""
    for number in range(3):
        official = f"Transformer_reduce.model.pos_embedding_{number + 1}"
        yield Match(f"aggregator.positions.{number}", (official,), TensorLayout.ROWS)
    for layer in range(layers):
        ours, official = f"aggregator.layers.{layer}", f"Transformer_reduce.model.layers.{layer}"
        yield from _attention_matches(ours, official)
        yield from product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", TensorLayout.KERNEL_1)
        yield from product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", TensorLayout.TAPS)


def transformer_matches(ours: str, official: str) -> Iterator[Match]:
    """`TransformerLayer`."""
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
    """`JointHead`."""
    yield from batch_norm_matches(f"{ours}.norm", f"{official}.0")
    yield from product_matches(f"{ours}.out", f"{official}.1", TensorLayout.KERNEL_1)


def product_matches(ours: str, official: str, weight_form: TensorLayout) -> Iterator[Match]:
    """`Linear`."""
    yield Match(f"{ours}.weight", (f"{official}.weight",), weight_form)
    yield Match(f"{ours}.bias", (f"{official}.bias",))


def batch_norm_matches(ours: str, official: str) -> Iterator[Match]:
    """`BatchNorm1d`."""
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield Match(f"{ours}.{name}", (f"{official}.{name}",))


def to_ours(match: Match, official: Mapping[str, Tensor], ours: Tensor) -> Tensor:
    """Lay official tensors (weights, or their gradients) out as our tensor `ours` is."""
    first = official[match.official[0]]
    match match.form:
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
    """Give every tensor of a module its official values."""
    ours = module.state_dict()
    module.load_state_dict({match.ours: to_ours(match, official, ours[match.ours]) for match in matches})


def to_official(module: nn.Module, matches: Iterable[Match], frames: int) -> dict[str, Tensor]:
    """Our tensors under their official names and in their official shapes; rows that nothing reads are zero."""
    ours = module.state_dict()
    official: dict[str, Tensor] = {}
    for match in matches:
        parts = _parts(match, ours[match.ours], frames)
        official.update(zip(match.official, parts, strict=True))
    return official


def _parts(match: Match, ours: Tensor, frames: int) -> tuple[Tensor, ...]:
    match match.form:
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
