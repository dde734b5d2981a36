"""Official checkpoint files, and how their tensors lie beside ours.

A checkpoint must fit tensor by tensor: whoever imports one reads the sizes from it, lays out the network they describe,
and `Checkpoint.check_fit` names whatever is missing, left over or of another shape. Files are read as tensors only; a
pickle that wants to run something is refused.

Each lifter lists its `Match`es; those of the blocks that P-STMO and MPM share are here.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import torch
from torch import Tensor, nn

from poselift.errors import InvalidCheckpoint
from poselift.lifters.blocks import TAPS

Source = Mapping[str, Tensor] | str | os.PathLike[str]
"""A state dict, or a file that holds one."""

HEADS = 8
"""In every official network; no tensor shows it."""

_PREFIX = "module."  # left by DataParallel
_MOST_NAMED = 5


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by their official names, without `module.`; and where they came from, in words."""

    origin: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, source: Source, part: str | None = None) -> "Checkpoint":
        """Args:
            part: entry that holds the state dict where a file keeps a whole training run; what else lies beside it is
                not looked at. A plain state dict is taken too.
        Raises:
            InvalidCheckpoint: no file of tensors, or a state dict with something else in it.
        """
        content: object = source
        origin = "The checkpoint"
        if isinstance(source, str | os.PathLike):
            origin = f"The checkpoint {Path(source)}"
            content = _read_file(Path(source), _GENERATOR if part else ())
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        if not isinstance(content, Mapping) or not content:
            raise InvalidCheckpoint(f"{origin} holds no named tensors.")
        tensors = {}
        for name, tensor in content.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise InvalidCheckpoint(
                    f"{origin} is no plain state dict: its entry {str(name)[:80]!r} is not a tensor."
                )
            tensors[name.removeprefix(_PREFIX)] = tensor
        return cls(origin, tensors)

    def size(self, name: str, axis: int) -> int:
        """Length of one axis of a tensor."""
        if name not in self.tensors:
            raise InvalidCheckpoint(f"{self.origin} lacks the tensor {name}.")
        shape = self.tensors[name].shape
        if len(shape) <= axis:
            raise InvalidCheckpoint(f"{self.origin} does not fit: {name} is {list(shape)}.")
        return shape[axis]

    def count(self, prefix: str) -> int:
        """How many layers are numbered behind a prefix: `prefix.0.`, `prefix.1.`, ..."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        return len({match[1] for name in self.tensors if (match := pattern.match(name))})

    def check_fit(self, expected: Mapping[str, Tensor]) -> None:
        """Raises:
        InvalidCheckpoint: names or shapes differ from the expected ones, or a value is not finite.
        """
        faults = []
        if missing := expected.keys() - self.tensors.keys():
            faults.append(f"it lacks {_listed(missing)}")
        if unknown := self.tensors.keys() - expected.keys():
            faults.append(f"it has the unknown {_listed(unknown)}")
        misshapen = {
            f"{name} {list(self.tensors[name].shape)} (needed: {list(tensor.shape)})"
            for name, tensor in expected.items()
            if name in self.tensors and self.tensors[name].shape != tensor.shape
        }
        if misshapen:
            faults.append(f"of another shape is {_listed(misshapen)}")
        if faults:
            raise InvalidCheckpoint(f"{self.origin} does not fit: {'; '.join(faults)}.")
        not_finite = {name for name, tensor in self.tensors.items() if not tensor.isfinite().all()}
        if not_finite:
            raise InvalidCheckpoint(f"{self.origin} holds values that are not finite in {_listed(not_finite)}.")

    def load_into(self, module: nn.Module, matches: "Iterable[Match]") -> None:
        """Give every tensor of a module its official values."""
        ours = module.state_dict()
        module.load_state_dict({match.ours: to_ours(match, self.tensors, ours[match.ours]) for match in matches})


class _Skipped:
    """Stands in for whatever a pickled random generator is made of: takes anything and does nothing."""

    def __init__(self, *ignored: object) -> None:
        pass

    def __setstate__(self, ignored: object) -> None:
        pass


# Runs kept by the official MixSTE training hold NumPy's generator beside their tensors. These names, as NumPy 1 and 2
# write them, are read as `_Skipped`; any other name is refused as ever.
_GENERATOR = (
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
)


def _read_file(path: Path, skipped: Iterable[str]) -> object:
    try:
        with torch.serialization.safe_globals([(_Skipped, name) for name in skipped]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidCheckpoint(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a broken or hostile pickle fails in more ways than can be listed
        raise InvalidCheckpoint(f"The checkpoint {path} is not a PyTorch file of tensors alone.") from error


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _MOST_NAMED
    return ", ".join(ordered[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


class Form(Enum):
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
    form: Form = Form.SAME


def unused_norms(channels: Mapping[str, int]) -> dict[str, Tensor]:
    """Norms that the official encoders own and never call, as they start; width by owner."""
    gains = {f"{owner}.model.norm.a_2": torch.ones(width) for owner, width in channels.items()}
    shifts = {f"{owner}.model.norm.b_2": torch.zeros(width) for owner, width in channels.items()}
    return gains | shifts


def aggregator_matches(layers: int) -> Iterator[Match]:
    """`Aggregator` of so many layers."""
    for number in range(3):
        official = f"Transformer_reduce.model.pos_embedding_{number + 1}"
        yield Match(f"aggregator.positions.{number}", (official,), Form.ROWS)
    for layer in range(layers):
        ours, official = f"aggregator.layers.{layer}", f"Transformer_reduce.model.layers.{layer}"
        yield from _attention_matches(ours, official)
        yield from product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", Form.KERNEL_1)
        yield from product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", Form.TAPS)


def transformer_matches(ours: str, official: str) -> Iterator[Match]:
    """`TransformerLayer`."""
    yield from _attention_matches(ours, official)
    yield from product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", Form.SAME)
    yield from product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", Form.SAME)


def _attention_matches(ours: str, official: str) -> Iterator[Match]:
    linears = f"{official}.self_attn.linears"
    for kind in ("weight", "bias"):
        stacked = tuple(f"{linears}.{index}.{kind}" for index in range(3))
        yield Match(f"{ours}.attention.query_key_value.{kind}", stacked, Form.STACKED)
        yield Match(f"{ours}.attention.out.{kind}", (f"{linears}.3.{kind}",))
    for index, norm in enumerate(("attention_norm", "network_norm")):
        yield Match(f"{ours}.{norm}.weight", (f"{official}.sublayer.{index}.norm.a_2",))
        yield Match(f"{ours}.{norm}.bias", (f"{official}.sublayer.{index}.norm.b_2",))


def head_matches(ours: str, official: str) -> Iterator[Match]:
    """`JointHead`."""
    yield from batch_norm_matches(f"{ours}.norm", f"{official}.0")
    yield from product_matches(f"{ours}.out", f"{official}.1", Form.KERNEL_1)


def product_matches(ours: str, official: str, weight_form: Form) -> Iterator[Match]:
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
        case Form.SAME:
            return first
        case Form.KERNEL_1:
            return first.squeeze(-1)
        case Form.TAPS:
            return first.transpose(1, 2).flatten(1)
        case Form.ROWS:
            return first[0, : len(ours)]
        case Form.LEADING:
            return first[0, 0]
        case Form.BATCHED:
            return first[0]
        case Form.STACKED:
            return torch.cat([official[name] for name in match.official])


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
        case Form.SAME:
            return (ours.clone(),)
        case Form.KERNEL_1:
            return (ours.unsqueeze(-1).clone(),)
        case Form.TAPS:
            return (ours.view(len(ours), TAPS, -1).transpose(1, 2).contiguous(),)
        case Form.ROWS:
            unused = ours.new_zeros(frames - len(ours), ours.shape[1])
            return (torch.cat((ours, unused)).unsqueeze(0),)
        case Form.LEADING:
            return (ours[None, None].clone(),)
        case Form.BATCHED:
            return (ours[None].clone(),)
        case Form.STACKED:
            return tuple(part.clone() for part in ours.chunk(3))
