"""Read official checkpoint files, as tensors only: a pickle that would run code is refused."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from poselift.errors import InvalidCheckpoint

Source = Mapping[str, Tensor] | str | os.PathLike[str]
"""A state dict, or a file that holds one."""

HEADS = 8
"""Attention heads of every official network; no tensor shape shows them."""

_PREFIX = "module."  # left by DataParallel
_MAX_NAMED = 5


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint.

    Attributes:
        origin: subject of sentences about the checkpoint.
        tensors: by official name, without the prefix `module.`.
    """

    origin: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, source: Source, part: str | None = None) -> "Checkpoint":
        """Read a file or a state dict.

        Args:
            part: entry that holds the state dict in a file of a whole training run, whose other entries are ignored. A
                plain state dict is accepted, too.
        Raises:
            InvalidCheckpoint: not a file of tensors, or a state dict with other entries than tensors.
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
        """Length of one axis of a tensor.

        Raises:
            InvalidCheckpoint: there is no such tensor, or no such axis.
        """
        if name not in self.tensors:
            raise InvalidCheckpoint(f"{self.origin} lacks the tensor {name}.")
        shape = self.tensors[name].shape
        if len(shape) <= axis:
            raise InvalidCheckpoint(f"{self.origin} does not fit: {name} is {list(shape)}.")
        return shape[axis]

    def count(self, prefix: str) -> int:
        """Number of layers that are numbered after a prefix: `prefix.0.`, `prefix.1.`, ..."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        return len({match[1] for name in self.tensors if (match := pattern.match(name))})

    def check_fit(self, expected: Mapping[str, Tensor]) -> None:
        """Compare names and shapes with those of a network.

        Raises:
            InvalidCheckpoint: names or shapes differ, or a value is not finite; the message names the tensors.
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


class _Skipped:
    """Placeholder for the parts of a pickled random generator: accepts any arguments and ignores them."""

    def __init__(self, *ignored: object) -> None:
        pass

    def __setstate__(self, ignored: object) -> None:
        pass


# Checkpoints of the official MixSTE training contain NumPy's generator. These names, as NumPy 1 and 2 write them, are
# read as `_Skipped`; any other name is refused.
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
    except Exception as error:  # broken and hostile pickles raise too many kinds to list
        raise InvalidCheckpoint(
            f"The checkpoint {path} is not a PyTorch file of tensors alone; save its state dict: "
            "torch.save(model.state_dict(), path)."
        ) from error


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _MAX_NAMED
    return ", ".join(ordered[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
