"""Finds on the CPU what would make the host wait for a GPU: tensors of the device "meta" take the GPU's place.

They have shapes and no numbers. Reading a number of them fails by itself; copies to them are noted here.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from poselift.lifters.constants import upload

META = torch.device("meta")
_NAMES = (META, "meta")
_REPOSITORY = Path(__file__).parents[1]
# Operations that first copy numbers on the CPU to the device of the others. Elsewhere a CPU tensor without dimensions
# is passed on as a number.
_COPYING = {"index", "index_put", "_index_put_impl", "index_put_", "_index_put_impl_", "where", "_to_copy", "copy_"}


class GeneratorOnCpu(torch.Generator):
    """In place of `torch.Generator`, which the device "meta" has not; what is drawn on that device has no numbers."""

    def __new__(cls, device: torch.device | str = "cpu") -> "GeneratorOnCpu":
        return super().__new__(cls)


def waits(work: Callable[[], object]) -> list[str]:
    """What the second run of some work waits for, and where; the first one may make constants."""
    work()
    found: list[str] = []
    with _PythonCalls(found), _Operations(found):
        work()
    return found


class _PythonCalls(TorchFunctionMode):
    """Notes what has become a tensor of the device before an operation sees it."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        on_device = any(_is_meta(value) for value in (*args, *kwargs.values()))
        is_index = name in ("__getitem__", "__setitem__") and on_device and _copies(args[1])
        is_choice = name == "where" and on_device and not all(isinstance(value, Tensor) for value in args)
        if is_index or is_choice or (on_device and name in ("tensor", "as_tensor", "asarray", "new_tensor")):
            self._found.append(_place(name))
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Notes operations, backward ones included, that mix the CPU's tensors with those of the device."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        values = tree_leaves((args, kwargs))
        on_cpu = [value for value in values if isinstance(value, Tensor) and not value.is_meta]
        copied = on_cpu if name in _COPYING else [value for value in on_cpu if value.ndim]
        if copied and any(_is_meta(value) for value in values) and not _uploads():
            self._found.append(_place(name))
        return func(*args, **kwargs)


def _is_meta(value: object) -> bool:
    return value.is_meta if isinstance(value, Tensor) else isinstance(value, torch.device | str) and value in _NAMES


def _copies(index: Any) -> bool:
    """Whether an index is a list of Python, or a mask whose length the host must know."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(part.dtype == torch.bool if isinstance(part, Tensor) else isinstance(part, Sequence) for part in parts)


def _uploads() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not upload.__code__:
        frame = frame.f_back
    return frame is not None


def _place(name: str) -> str:
    """The name of a call, and the innermost line of the repository that leads to it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not _is_ours(Path(frame.f_code.co_filename)):
        frame = frame.f_back
    if frame is None:
        return name
    return f"{name} at {Path(frame.f_code.co_filename).relative_to(_REPOSITORY)}:{frame.f_lineno}"


def _is_ours(file: Path) -> bool:
    return file.is_relative_to(_REPOSITORY) and "site-packages" not in file.parts and file != Path(__file__)
