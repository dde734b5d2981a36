"""What the tests' own search for waits (`tests/host_waits.py`) finds, and what not."""

from collections.abc import Callable

import pytest
import torch

from poselift.lifters.constants import upload
from tests.host_waits import META, waits


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
    assert found.partition(" at ")[2].startswith("tests/unit/test_host_waits.py:")


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
