"""Constants and copies for which the host does not wait, and the numbers that they replace."""

import pytest
import torch
from torch import nn

from poselift.lifters.blocks import Attention, in_float32
from poselift.lifters.constants import indices, numbers, upload
from poselift.lifters.frame_features import person_centre
from poselift.lifters.mixste import network as mixste

CPU = torch.device("cpu")


def test_constants_are_kept_by_kind_and_device():
    assert indices([1, 0], CPU) is indices((1, 0), CPU)
    assert torch.equal(indices([True, False], CPU), torch.tensor([1, 0]))
    assert torch.equal(numbers([1, 0], CPU), torch.tensor([1.0, 0.0]))
    assert (indices([1, 0], CPU).dtype, numbers([1, 0], CPU).dtype) == (torch.int64, torch.float32)
    mask = torch.tensor([True, False])
    assert upload(mask, CPU) is mask


def test_constants_made_while_serving_may_be_trained_with():
    with torch.inference_mode():
        weights = numbers([0.25, 4.0, 0.5], CPU)
    positions = torch.ones(3, requires_grad=True)
    (positions * weights).sum().backward()
    assert positions.grad is not None
    assert torch.equal(positions.grad, weights)


def test_a_frame_without_joints_has_no_spread():
    frames = torch.full((2, 5, 2), torch.nan)
    frames[1] = torch.arange(10.0).view(5, 2)
    _, context = person_centre(frames)
    assert torch.equal(context[0], torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert context[1, 1, 0] == pytest.approx(float(torch.tensor(4.0 + 4.0).mul(2).sqrt().log()))


def test_coordinates_are_not_rounded_under_autocast():
    product, coordinates = nn.Linear(4, 3), torch.rand(5, 4)
    exact = product(coordinates)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(in_float32(product, coordinates), exact)
        assert product(coordinates).dtype == torch.bfloat16
    assert torch.equal(in_float32(product, coordinates), exact)


@pytest.mark.parametrize("layer", ["widen", "widen_context"])
def test_the_layers_of_mixste_that_read_coordinates_are_not_rounded(layer: str):
    config = mixste.MixSTEConfig(frames=3, channels=8, hidden=8, layers=1, heads=2, person_centred=True)
    lifter, answers = mixste.MixSTE(config), []
    getattr(lifter, layer).register_forward_hook(lambda _, __, answer: answers.append(answer.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        lifter(torch.rand(2, 3, 17, 2))
    assert answers == [torch.float32]


def test_attention_over_many_rows_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch):
    attention, rows = Attention(8, 2, dropout=0.0), torch.rand(7, 3, 8)
    whole = attention(rows)
    monkeypatch.setattr(mixste, "_MAX_ROWS", 3)
    torch.testing.assert_close(mixste._in_parts(attention, rows), whole)
