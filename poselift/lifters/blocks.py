"""Building blocks of the P-STMO network family, optimised for speed and equal to the official code up to rounding.

Shapes: B windows, N frames of a window, T tokens, C channels, H hidden width, J joints. Activations are contiguous
[B, T, C] throughout: the official kernel-1 convolutions over [B, C, T] are written as `Linear`, which computes the same
products with the same stock initialisation.

Source: P-STMO (ECCV 2022), official code `model/block/{mlp,vanilla_transformer_encoder,strided_transformer_encoder}`.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 3
"""Kernel width of the aggregator's strided convolution."""

DEVIATION_EPS = 1e-6
"""The official layer norm adds it to the deviation itself, not inside the square root."""

LEAK = 0.2
"""Negative slope of the per-frame network's leaky ReLU."""

_POSITIONED_LAYERS = 3  # the official aggregator adds positions before its first three layers only
# Keeps the exponential of an outlier finite, even in float16, whose largest number is 65504.
_MAX_LOG_ERROR = 11.0
_VARIANCE_FLOOR = 1e-30  # keeps a constant token finite; far below any variance that float32 resolves


class DeviationNorm(nn.Module):
    """The official layer norm: (x - mean) / (unbiased standard deviation + 1e-6) * weight + bias.

    It differs from the stock layer in the n - 1 and in the place of eps. Both are corrected after the stock kernel: the
    output lies on the line from `bias` to the stock output, at the ratio of the two denominators. Outputs are exact;
    the gradient neglects the change of that ratio, a relative error of about 1e-6 / deviation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._unbiased = math.sqrt(channels / (channels - 1))

    def forward(self, x: Tensor) -> Tensor:
        normed, _, inverse_deviation = torch.native_layer_norm(
            x, self.weight.shape, self.weight, self.bias, _VARIANCE_FLOOR
        )
        ratio = (self._unbiased + DEVIATION_EPS * inverse_deviation.detach()).reciprocal()
        return torch.lerp(self.bias, normed, ratio)


class Attention(nn.Module):
    """Multi-head self-attention with one product for query, key and value.

    The key third of the bias cannot change the output (softmax cancels it); it is kept so that there is one product.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, bias: Tensor | None = None, looking: int | None = None) -> Tensor:
        """Mix the tokens of each window, [B, T, C] -> [B, Q, C].

        Args:
            bias: added to the scores, broadcast to [B, heads, Q, T]; row: the token that looks, column: at which.
            looking: only so many tokens, Q, look at others, the first ones; None: all.
        """
        windows, tokens, channels = x.shape
        query, key, value = self._heads(x, looking)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(windows, looking or tokens, channels))
        return out

    def _heads(self, x: Tensor, looking: int | None) -> tuple[Tensor, ...]:
        """Query, key and value, each [B, heads, Q or T, C / heads]."""
        windows, tokens, channels = x.shape
        if looking is None:
            stacked = self.query_key_value(x).view(windows, tokens, 3, self.heads, channels // self.heads)
            query, key, value = stacked.permute(2, 0, 3, 1, 4).unbind(0)
            return query, key, value
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(x[:, :looking], weight[:channels], bias[:channels])
        stacked = F.linear(x, weight[channels:], bias[channels:]).view(windows, tokens, 2, self.heads, -1)
        key, value = stacked.permute(2, 0, 3, 1, 4).unbind(0)
        return query.view(windows, looking, self.heads, -1).transpose(1, 2), key, value


class TransformerLayer(nn.Module):
    """Pre-norm transformer layer: attention, then a ReLU network, each added to its input. [B, T, C] -> [B, T, C]."""

    def __init__(self, channels: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = DeviationNorm(channels)
        self.attention = Attention(channels, heads, dropout)
        self.network_norm = DeviationNorm(channels)
        self.widen = nn.Linear(channels, hidden)
        self.narrow = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None, looking: int | None = None) -> Tensor:
        """As `Attention.forward`; only the tokens that look are left."""
        x = x[:, :looking] + self.dropout(self.attention(self.attention_norm(x), bias, looking))
        widened = self.dropout(F.relu(self.widen(self.network_norm(x))))
        out: Tensor = x + self.dropout(self.narrow(widened))
        return out


class StridedLayer(nn.Module):
    """Transformer layer that keeps every `stride`-th token. [B, T, C] -> [B, T // stride, C], stride dividing T.

    The second product of its network is a convolution over three tokens. In the official code, output i comes from
    tokens stride * i - 1, stride * i and stride * i + 1, with zeros outside: the left end of a block of `stride`
    tokens, so in a layer that leaves one token the first tap reads only padding. With `centred`, output i comes from
    the middle of the block.
    """

    def __init__(
        self, channels: int, hidden: int, heads: int, stride: int, dropout: float, *, centred: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        self.centred = centred
        self.attention_norm = DeviationNorm(channels)
        self.attention = Attention(channels, heads, dropout)
        self.network_norm = DeviationNorm(channels)
        self.widen = nn.Linear(channels, hidden)
        self.narrow = nn.Linear(TAPS * hidden, channels)  # tap-major: token before, token, token after
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        widened = self.dropout(F.relu(self.widen(self.network_norm(x))))
        taps = gather_taps(widened, self.stride, centred=self.centred)
        out: Tensor = kept_tokens(x, self.stride, centred=self.centred) + self.dropout(self.narrow(taps))
        return out


def kept_tokens(tokens: Tensor, stride: int, *, centred: bool = False) -> Tensor:
    """The first (with `centred`, the middle) token of every `stride` tokens. [B, T, H] -> [B, T // stride, H]."""
    return tokens[:, stride // 2 if centred else 0 :: stride]


def gather_taps(tokens: Tensor, stride: int, *, centred: bool = False) -> Tensor:
    """Concatenate the three tokens around every kept one. [B, T, H] -> [B, T // stride, 3 * H]."""
    windows, length, width = tokens.shape
    if stride < TAPS:
        padded = F.pad(tokens, (0, 0, 1, 1))
        return torch.cat([padded[:, tap : tap + length : stride] for tap in range(TAPS)], dim=-1)
    if centred:
        blocks = tokens.reshape(windows, length // stride, stride, width)
        first = (stride - TAPS) // 2
        return blocks[:, :, first : first + TAPS].flatten(2)
    # Shifted by one token, each block of `stride` tokens starts with its taps; no tap reads the very last token.
    blocks = F.pad(tokens, (0, 0, 1, -1)).view(windows, length // stride, stride, width)
    return blocks[:, :, :TAPS].flatten(2)


def in_float32(product: nn.Linear, coordinates: Tensor) -> Tensor:
    """Apply the product that reads coordinates; under autocast, too: bfloat16 rounds them to 0.4 %."""
    if coordinates.is_meta or not torch.is_autocast_enabled(coordinates.device.type):
        return cast(Tensor, product(coordinates))
    with torch.autocast(coordinates.device.type, enabled=False):
        return cast(Tensor, product(coordinates))


class FrameEncoder(nn.Module):
    """Per-frame network (SEM in the paper). [..., features] -> [..., C]; BatchNorm statistics over all leading axes."""

    def __init__(self, features: int, channels: int, dropout: float) -> None:
        super().__init__()
        width = 2 * channels
        self.widen = nn.Linear(features, width)
        self.widen_norm = nn.BatchNorm1d(width)
        self.inner_1 = nn.Linear(width, width)
        self.inner_norm_1 = nn.BatchNorm1d(width)
        self.inner_2 = nn.Linear(width, width)
        self.inner_norm_2 = nn.BatchNorm1d(width)
        self.narrow = nn.Linear(width, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor) -> Tensor:
        flat = frames.reshape(-1, frames.shape[-1])
        encoded = self.narrow_features(self.dropout(F.leaky_relu(self.widen_norm(in_float32(self.widen, flat)), LEAK)))
        return encoded.view(*frames.shape[:-1], -1)

    def narrow_features(self, outer: Tensor) -> Tensor:
        """Apply the layers after the first product: [frames, 2 * C] -> [frames, C]."""
        inner = self.dropout(F.leaky_relu(self.inner_norm_1(self.inner_1(outer)), LEAK))
        inner = self.dropout(F.leaky_relu(self.inner_norm_2(self.inner_2(inner)), LEAK))
        encoded: Tensor = self.narrow(outer + inner)
        return encoded


class TemporalEncoder(nn.Module):
    """Learnt positions and transformer layers over a window (TEM in the paper). [B, N, C] -> [B, N, C]."""

    def __init__(self, frames: int, channels: int, hidden: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(frames, channels))
        self.layers = nn.ModuleList(TransformerLayer(channels, hidden, heads, dropout) for _ in range(layers))

    def forward(self, embedded: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode all frames, or only those in `visible` (int64 [V], ascending): then the result is [B, V, C]."""
        x = embedded + self.position
        if visible is not None:
            x = x[:, visible]
        for layer in self.layers:
            x = layer(x)
        return x


class Aggregator(nn.Module):
    """Strided layers down to one token (MOFA in the paper). [B, N, C] -> [B, N // product of strides, C]."""

    def __init__(
        self,
        frames: int,
        channels: int,
        hidden: int,
        heads: int,
        strides: Sequence[int],
        dropout: float,
        *,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            StridedLayer(channels, hidden, heads, stride, dropout, centred=centred) for stride in strides
        )
        lengths = token_counts(frames, strides)[:_POSITIONED_LAYERS]
        self.positions = nn.ParameterList(torch.randn(length, channels) for length in lengths)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            if number < len(self.positions):
                x = x + self.positions[number]
            x = layer(x)
        return x


class MiddleToken(nn.Module):
    """Replacement of the aggregator in its ablation: the token of the middle frame. [B, N, C] -> [B, 1, C]."""

    def forward(self, x: Tensor) -> Tensor:
        middle = x.shape[1] // 2
        return x[:, middle : middle + 1]


def token_counts(frames: int, strides: Sequence[int]) -> list[int]:
    """Tokens entering each strided layer: 27 frames with strides 3, 3, 3 give [27, 9, 3]."""
    counts = []
    for stride in strides:
        counts.append(frames)
        frames //= stride
    return counts


class JointHead(nn.Module):
    """BatchNorm and one product per token. [B, T, C] -> [B, T, J, dimensions]."""

    def __init__(self, channels: int, joints: int, dimensions: int) -> None:
        super().__init__()
        self.joints = joints
        self.norm = nn.BatchNorm1d(channels)
        self.out = nn.Linear(channels, joints * dimensions)

    def forward(self, tokens: Tensor) -> Tensor:
        windows, length, channels = tokens.shape
        out: Tensor = self.out(self.norm(tokens.reshape(-1, channels)))
        return out.view(windows, length, self.joints, -1)


class ErrorHead(nn.Module):
    """Expected error of each joint of a pose. [B, T, C] -> [B, T, J], positive.

    It reads the tokens of the poses, without a gradient to them: the poses are the same as without this head.
    """

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.widen = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, joints)

    def forward(self, tokens: Tensor) -> Tensor:
        flat = tokens.detach().flatten(0, 1)
        inner = F.leaky_relu(self.widen(self.norm(flat)), LEAK)
        return expected_error(self.out(inner)).view(*tokens.shape[:2], -1)


def expected_error(log_error: Tensor) -> Tensor:
    """The exponential of a log error, in the unit of the poses, clamped to a plausible size."""
    return torch.exp(log_error.clamp(-_MAX_LOG_ERROR, _MAX_LOG_ERROR))
