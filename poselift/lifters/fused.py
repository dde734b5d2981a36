"""The blocks optimised for inference: eval mode only, with norms folded into products.

Only the kernel of a layer norm, without weight and bias, remains. Each block is built from its trained counterpart in
`blocks.py` and copies its tensors. Outputs agree up to float32 rounding.
"""

import copy
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.lifters.blocks import (
    DEVIATION_EPS,
    LEAK,
    Aggregator,
    Attention,
    DeviationNorm,
    ErrorHead,
    FrameEncoder,
    JointHead,
    StridedLayer,
    TransformerLayer,
    expected_error,
    gather_taps,
    kept_tokens,
)


class FusedFrameEncoder(nn.Module):
    """`FrameEncoder` as four products. [..., features] -> [..., C]."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.widen = _folded_behind(encoder.widen, encoder.widen_norm)
        self.inner_1 = _folded_behind(encoder.inner_1, encoder.inner_norm_1)
        self.inner_2 = _folded_behind(encoder.inner_2, encoder.inner_norm_2)
        self.narrow = copy.deepcopy(encoder.narrow)

    def forward(self, frames: Tensor) -> Tensor:
        outer = F.leaky_relu(self.widen(frames), LEAK, inplace=True)
        inner = F.leaky_relu(self.inner_1(outer), LEAK, inplace=True)
        inner = F.leaky_relu(self.inner_2(inner), LEAK, inplace=True)
        encoded: Tensor = self.narrow(inner.add_(outer))
        return encoded


class FusedTemporalEncoder(nn.Module):
    """`TemporalEncoder`, or a decoder, over all frames. [B, N, C] -> [B, N, C]."""

    def __init__(self, position: nn.Parameter, layers: nn.ModuleList) -> None:
        """Copy an encoder.

        Args:
            position: [N, C], added before the first layer.
            layers: of `TransformerLayer`.
        """
        super().__init__()
        self.position = copy.deepcopy(position)
        self.layers = nn.ModuleList(FusedLayer(cast(TransformerLayer, layer)) for layer in layers)

    def forward(self, embedded: Tensor) -> Tensor:
        x = embedded + self.position
        for layer in self.layers:
            x = layer(x)
        return x


class FusedAggregator(nn.Module):
    """`Aggregator` ending in one token. [B, N, C] -> [B, 1, C]."""

    def __init__(self, aggregator: Aggregator) -> None:
        super().__init__()
        *strided, last = (cast(StridedLayer, layer) for layer in aggregator.layers)
        self.positions = copy.deepcopy(aggregator.positions)
        # A centred last layer reads all tokens of its block.
        last_class = _FusedStridedLayer if last.centred else _FusedLastLayer
        self.layers = nn.ModuleList([*map(_FusedStridedLayer, strided), last_class(last)])

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            if number < len(self.positions):
                x = x + self.positions[number]
            x = layer(x)
        return x


class FusedLayer(nn.Module):
    """`TransformerLayer`. [B, T, C] -> [B, T, C]."""

    def __init__(self, layer: TransformerLayer) -> None:
        super().__init__()
        self.norm = _bare_norm(layer.attention_norm)
        self.attention = _attention_with(layer.attention_norm, layer.attention)
        self.widen = _with_norm(layer.network_norm, layer.widen)
        self.narrow = copy.deepcopy(layer.narrow)

    def forward(self, x: Tensor, bias: Tensor | None = None, looking: int | None = None) -> Tensor:
        """As `TransformerLayer.forward`."""
        x = self.attention(self.norm(x), bias, looking).add_(x[:, :looking])
        widened = F.relu(self.widen(self.norm(x)), inplace=True)
        out: Tensor = self.narrow(widened).add_(x)
        return out


class _FusedStridedLayer(nn.Module):
    def __init__(self, layer: StridedLayer) -> None:
        super().__init__()
        self.stride = layer.stride
        self.centred = layer.centred
        self.norm = _bare_norm(layer.attention_norm)
        self.attention = _attention_with(layer.attention_norm, layer.attention)
        self.widen = _with_norm(layer.network_norm, layer.widen)
        self.narrow = copy.deepcopy(layer.narrow)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.norm(x)).add_(x)
        widened = F.relu(self.widen(self.norm(x)), inplace=True)
        taps = gather_taps(widened, self.stride, centred=self.centred)
        out: Tensor = self.narrow(taps).add_(kept_tokens(x, self.stride, centred=self.centred))
        return out


class _FusedLastLayer(nn.Module):
    """A strided layer that leaves one token: its first tap reads only padding, the others the first two tokens."""

    def __init__(self, layer: StridedLayer) -> None:
        super().__init__()
        self.norm = _bare_norm(layer.attention_norm)
        self.attention = _attention_with(layer.attention_norm, layer.attention)
        self.widen = _with_norm(layer.network_norm, layer.widen)
        used_taps = layer.narrow.weight[:, layer.widen.out_features :]
        self.narrow = _product(used_taps, layer.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.attention(self.norm(x)).add_(x))[:, :2]
        widened = F.relu(self.widen(self.norm(x)), inplace=True)
        out: Tensor = self.narrow(widened.flatten(1).unsqueeze(1)).add_(x[:, :1])
        return out


class FusedErrorHead(nn.Module):
    """`ErrorHead` in two products. [B, T, C] -> [B, T, J]."""

    def __init__(self, head: ErrorHead) -> None:
        super().__init__()
        self.widen = _folded_before(head.norm, head.widen)
        self.out = copy.deepcopy(head.out)

    def forward(self, tokens: Tensor) -> Tensor:
        inner = F.leaky_relu(self.widen(tokens), LEAK, inplace=True)
        return expected_error(self.out(inner))


def fused_head(head: JointHead) -> nn.Linear:
    """A head's BatchNorm and product as one product. [..., C] -> [..., J * dimensions]."""
    return _folded_before(head.norm, head.out)


def fused_norm(norm: DeviationNorm) -> nn.LayerNorm:
    """A norm that cannot be folded, as a stock layer with the n - 1 of the deviation in its weight."""
    channels = len(norm.weight)
    fused = nn.LayerNorm(channels, eps=DEVIATION_EPS**2, device=norm.weight.device, dtype=norm.weight.dtype)
    fused.load_state_dict({"weight": norm.weight * math.sqrt((channels - 1) / channels), "bias": norm.bias})
    return fused


def _folded_behind(product: nn.Linear, norm: nn.BatchNorm1d) -> nn.Linear:
    scale, shift = _scale_and_shift(norm)
    weight = product.weight.double() * scale.unsqueeze(1)
    return _product(weight, product.bias * scale + shift, like=product.weight)


def _folded_before(norm: nn.BatchNorm1d, product: nn.Linear) -> nn.Linear:
    scale, shift = _scale_and_shift(norm)
    weight = product.weight.double()
    return _product(weight * scale, product.bias + weight @ shift, like=product.weight)


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    # Folding in float64 limits the error of the folded product to one rounding.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _product(weight: Tensor, bias: Tensor, like: Tensor | None = None) -> nn.Linear:
    like = weight if like is None else like
    product = nn.Linear(weight.shape[1], weight.shape[0], device=like.device, dtype=like.dtype)
    product.load_state_dict({"weight": weight, "bias": bias})
    return product


def _attention_with(norm: DeviationNorm, attention: Attention) -> Attention:
    fused = copy.deepcopy(attention)
    fused.query_key_value = _with_norm(norm, attention.query_key_value)
    return fused


def _with_norm(norm: DeviationNorm, product: nn.Linear) -> nn.Linear:
    """The product after a norm, with the norm's weight and bias and the n - 1 of its deviation folded in."""
    channels = len(norm.weight)
    weight = product.weight.double()
    scaled = weight * norm.weight * math.sqrt((channels - 1) / channels)
    return _product(scaled, product.bias + weight @ norm.bias.double(), like=product.weight)


def _bare_norm(norm: DeviationNorm) -> nn.LayerNorm:
    """The stock layer with weight one and bias zero.

    PyTorch's kernel is faster with these two than without them, and OpenVINO omits them. With eps inside the root, the
    denominator of a token with deviation d is too small by a relative error of about 1e-6 / d.
    """
    return nn.LayerNorm(len(norm.weight), eps=DEVIATION_EPS**2, device=norm.weight.device, dtype=norm.weight.dtype)
