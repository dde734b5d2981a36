"""Drawing a batch asks the device for nothing: neither numbers to decide by, nor copies from pageable memory."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.draws import last_step
from poselift_training.data.synthetic.views import Views
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.unit.training.data.synthetic.sampling import draw_windows

ALL_VIEWS = Views(swaps=0.3, bursts=0.3, gaps=0.5, truncated=0.3, speed=0.3)
# Calls that read from the device, or copy numbers of Python to it.
WAITS = {"item", "tolist", "nonzero", "masked_select", "tensor", "new_tensor", "__int__", "__bool__", "__float__"}


class CountedWaits(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        is_index = name in ("__getitem__", "__setitem__") and _waits_for(args[1])
        is_choice = name == "where" and not all(isinstance(value, Tensor) for value in args)
        if name in WAITS or is_index or is_choice:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def _waits_for(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) or (isinstance(part, Tensor) and part.dtype == torch.bool) for part in parts)


def waits(work: Callable[[], object]) -> dict[str, int]:
    work()  # constants are made once
    with CountedWaits() as mode:
        work()
    return dict(mode.counts)


def test_the_count_sees_what_waits():
    tensor = torch.rand(5)
    assert waits(lambda: int(tensor[0])) == {"__int__": 1}
    assert waits(lambda: torch.tensor([1, 2])) == {"tensor": 1}
    assert waits(lambda: tensor.new_tensor([1, 2])) == {"new_tensor": 1}
    assert waits(lambda: tensor[tensor > 0.5]) == {"__getitem__": 1}
    assert waits(lambda: tensor[[1, 2]]) == {"__getitem__": 1}
    assert waits(lambda: torch.where(tensor > 0.5, tensor, 0)) == {"where": 1}


def test_drawing_a_batch_waits_for_nothing(motion: Motion):
    windows = draw_windows(motion, ALL_VIEWS, batch_size=4)
    assert waits(lambda: windows.batch(3)) == {}


@pytest.mark.parametrize("frames", [1, 2, 27, 81, 243, 500])
@pytest.mark.parametrize("dt_s", [0.02, 1 / 30, 0.04, 0.12])
@pytest.mark.parametrize("unit_s", [0.25, 1.6])
def test_the_last_step_is_that_of_the_tensor(frames: int, dt_s: float, unit_s: float):
    step = dt_s / unit_s
    assert last_step(frames, step) == int((torch.arange(frames) * step).long()[-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_drawing_a_batch_does_not_wait_for_a_gpu(motion: Motion):
    on_gpu = Motion(
        **{**vars(motion), **{name: getattr(motion, name).cuda() for name in ("joints", "starts", "lengths")}}
    )
    windows = draw_windows(on_gpu, ALL_VIEWS, batch_size=4)
    windows.batch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        windows.batch(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
