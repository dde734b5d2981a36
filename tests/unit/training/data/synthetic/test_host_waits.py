"""Drawing a batch asks the device for nothing: neither numbers to decide by, nor copies from pageable memory."""

from collections.abc import Callable

import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.draws import last_step
from poselift_training.data.synthetic.views import Views

from poselift.lifters.constants import upload
from tests.host_waits import META, GeneratorOnCpu, waits
from tests.unit.training.data.synthetic.sampling import draw_windows

ALL_VIEWS = Views(
    bone_scale=0.1,
    speed=0.3,
    swaps=0.3,
    bursts=0.3,
    gaps=0.5,
    truncated=0.3,
    proportions=0.2,
    children=0.2,
    composed=0.3,
)


@pytest.mark.parametrize(
    "work",
    [
        lambda tensor: tensor[[1, 2]],
        lambda tensor: tensor[torch.tensor([1, 2])],
        lambda tensor: tensor.__setitem__([1, 2], 0.0),
        lambda tensor: tensor.new_tensor([1, 2]),
        lambda tensor: torch.tensor([1, 2], device=META),
        lambda tensor: torch.where(tensor > 0.5, tensor, 0),
        lambda tensor: torch.where(tensor > 0.5, tensor, torch.tensor(0.0)),
        lambda tensor: torch.ones(5).to(META),
        lambda tensor: tensor.copy_(torch.ones(5)),
    ],
)
def test_what_waits_is_found(work: Callable[[torch.Tensor], object]):
    tensor = torch.rand(5, device=META)
    (found,) = waits(lambda: work(tensor))
    assert found.partition(" at ")[2].startswith("tests/unit/training/data/synthetic/test_host_waits.py:")


@pytest.mark.parametrize("work", [lambda tensor: int(tensor[0]), lambda tensor: tensor[tensor > 0.5]])
def test_numbers_of_the_device_cannot_be_read(work: Callable[[torch.Tensor], object]):
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|nonzero"):
        waits(lambda: work(torch.rand(5, device=META)))


def test_what_does_not_wait_is_not_found():
    tensor, places = torch.rand(5, device=META), torch.arange(2, device=META)
    assert waits(lambda: tensor[places] + torch.tensor(1.0)) == []
    assert waits(lambda: tensor[1:3].masked_fill(tensor[1:3] > 0.5, 0)) == []
    assert waits(lambda: upload(torch.ones(5), META) * tensor) == []
    assert waits(lambda: torch.ones(5)[[1, 2]]) == []


@pytest.mark.parametrize("rare", [0.0, 0.5])
def test_drawing_a_batch_waits_for_nothing(motion: Motion, monkeypatch: pytest.MonkeyPatch, rare: float):
    monkeypatch.setattr(torch, "Generator", GeneratorOnCpu)
    # What is prepared once may wait.
    for name, count in (("clip_weights", len(motion.lengths)), ("frame_weights", len(motion.joints))):
        monkeypatch.setattr(Motion, name, lambda *_, count=count: torch.ones(count, dtype=torch.float64, device=META))
    windows = draw_windows(motion.to(META), ALL_VIEWS, batch_size=4, rare=rare)
    assert windows.batch(3).joints.is_meta
    assert waits(lambda: windows.batch(3)) == []


@pytest.mark.parametrize("frames", [1, 2, 27, 81, 243, 500])
@pytest.mark.parametrize("dt_s", [0.02, 1 / 30, 0.04, 0.12])
@pytest.mark.parametrize("unit_s", [0.25, 1.6])
def test_the_last_step_is_that_of_the_tensor(frames: int, dt_s: float, unit_s: float):
    step = dt_s / unit_s
    assert last_step(frames, step) == int((torch.arange(frames) * step).long()[-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_drawing_a_batch_does_not_wait_for_a_gpu(motion: Motion):
    windows = draw_windows(motion.to("cuda"), ALL_VIEWS, batch_size=4)
    windows.batch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        windows.batch(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
