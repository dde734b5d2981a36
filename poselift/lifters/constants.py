"""Constants on a device, and copies to it, for which the host does not wait.

A list as an index, `new_tensor` and `torch.tensor(..., device=)` copy from pageable memory, which blocks the host until
all earlier work of a GPU is done.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Distinct constants of one process: index lists of skeletons, ranges of recipes.
_KEPT = 256


def indices(values: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers on a device, int64, to be used as an index; not to be changed."""
    return _constant(tuple(values), torch.int64, device)


def numbers(values: Sequence[float], device: torch.device) -> Tensor:
    """Numbers on a device, float32; not to be changed."""
    return _constant(tuple(values), torch.float32, device)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@lru_cache(_KEPT)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # it may be used in training later
        return torch.tensor(values, dtype=dtype, device=device)
