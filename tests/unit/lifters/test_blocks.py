"""Blocks against their plain definitions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poselift.lifters.blocks import DeviationNorm, StridedLayer, gather_taps


def plain_norm(x: Tensor, norm: DeviationNorm) -> Tensor:
    offsets = x - x.mean(-1, keepdim=True)
    return offsets / (x.std(-1, keepdim=True) + 1e-6) * norm.weight + norm.bias


@pytest.fixture
def norm() -> DeviationNorm:
    norm = DeviationNorm(16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("deviation", [1e-4, 1.0, 1e4])
def test_deviation_norm_is_exact(norm: DeviationNorm, deviation: float) -> None:
    x = torch.randn(3, 5, 16, dtype=torch.float64) * deviation
    norm.double()
    torch.testing.assert_close(norm(x), plain_norm(x, norm), atol=1e-12, rtol=1e-12)


def test_deviation_norm_gradient(norm: DeviationNorm) -> None:
    norm.double()
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    toward = torch.randn(3, 5, 16, dtype=torch.float64)
    (ours,) = torch.autograd.grad((norm(x) * toward).sum(), x)
    (plain,) = torch.autograd.grad((plain_norm(x, norm) * toward).sum(), x)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)  # the neglected part is about 1e-6


def test_constant_token_gives_the_bias_and_a_finite_gradient(norm: DeviationNorm) -> None:
    x = torch.full((2, 16), 0.5, requires_grad=True)
    out = norm(x)
    torch.testing.assert_close(out, norm.bias.expand(2, 16))
    out.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(("tokens", "stride"), [(9, 1), (9, 3), (3, 3), (117, 9), (13, 13)])
def test_gathered_taps_equal_the_strided_convolution(tokens: int, stride: int) -> None:
    x, weight, bias = torch.randn(2, tokens, 5), torch.randn(4, 5, 3), torch.randn(4)
    convolved = F.conv1d(x.transpose(1, 2), weight, bias, stride=stride, padding=1).transpose(1, 2)
    product = F.linear(gather_taps(x, stride), weight.transpose(1, 2).flatten(1), bias)
    torch.testing.assert_close(product, convolved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [3, 9, 13])
def test_centred_taps_lie_around_the_middle_of_each_block(stride: int) -> None:
    tokens = torch.arange(4 * stride).float().view(1, -1, 1)
    middle = stride // 2 + stride * torch.arange(4)
    expected = (middle[:, None] + torch.tensor([-1, 0, 1])).float()
    assert torch.equal(gather_taps(tokens, stride, centred=True)[0], expected)


@pytest.mark.parametrize(("centred", "kept"), [(False, [0, 3, 6]), (True, [1, 4, 7])])
def test_strided_layer_keeps_one_token_of_each_stride(centred: bool, kept: list[int]) -> None:
    layer = StridedLayer(channels=16, hidden=8, heads=4, stride=3, dropout=0.0, centred=centred)
    for product in (layer.attention.out, layer.narrow):
        torch.nn.init.zeros_(product.weight)
        torch.nn.init.zeros_(product.bias)
    x = torch.randn(2, 9, 16)
    assert torch.equal(layer(x), x[:, kept])
