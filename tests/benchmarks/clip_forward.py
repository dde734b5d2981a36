"""How fast the inference form lifts a clip, beside the official network written out plainly.

    python -m tests.benchmarks.clip_forward            # 150 frames, N = 27 and 81, 1 and 2 threads: about a minute
    python -m tests.benchmarks.clip_forward --frames 20 --rounds 2

Both lift every frame of one clip on the CPU in float32, with the same weights, in batches of the same size. The plain
form takes whole windows, as the official evaluation does; ours encodes each frame once and gathers the windows from
that. The two take turns, and each is given its fastest round, so that a busy machine troubles both alike. A number is
printed, never asserted.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poselift.lifters.official.pstmo import export_pstmo
from poselift.lifters.pstmo.network import STMO, FusedSTMO, STMOConfig
from poselift.windows import window_indices, window_offsets

FRAME_COUNTS = (27, 81)
THREADS = (1, 2)


class PlainNorm(nn.Module):
    """(x - mean) / (unbiased deviation + 1e-6), step by step."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + 1e-6) + self.b_2


class PlainAttention(nn.Module):
    """Four products, scores written out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(channels, channels) for _ in range(4))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        query, key, value = (
            linear(x).view(batch, tokens, self.heads, channels // self.heads).transpose(1, 2)
            for linear in self.linears[:3]
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(channels // self.heads)
        mixed = torch.matmul(self.dropout(F.softmax(scores, dim=-1)), value)
        return self.linears[3](mixed.transpose(1, 2).contiguous().view(batch, tokens, channels))


class PlainSublayer(nn.Module):
    """What a sublayer adds to its input: dropout of the sublayer of the norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = PlainNorm(channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, sublayer: nn.Module) -> Tensor:
        return self.dropout(sublayer(self.norm(x)))


class PlainFeedForward(nn.Module):
    """Two products with a ReLU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(channels, hidden)
        self.w_2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(F.relu(self.w_1(x))))


class PlainStridedFeedForward(nn.Module):
    """Two convolutions with a ReLU; the second one strides."""

    def __init__(self, channels: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.w_1 = nn.Conv1d(channels, hidden, kernel_size=1)
        self.w_2 = nn.Conv1d(hidden, channels, kernel_size=3, stride=stride, padding=1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.w_2(self.dropout(F.relu(self.w_1(x.permute(0, 2, 1)))))
        return x.permute(0, 2, 1)


class PlainLayer(nn.Module):
    """One encoder layer; with a stride of 1 the plain one, else a strided one."""

    def __init__(self, channels: int, heads: int, feed_forward: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.self_attn = PlainAttention(channels, heads)
        self.feed_forward = feed_forward
        self.sublayer = nn.ModuleList(PlainSublayer(channels) for _ in range(2))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.sublayer[0](x, self.self_attn)
        change = self.sublayer[1](x, self.feed_forward)
        if self.stride != 1:
            x = F.max_pool1d(x.permute(0, 2, 1), kernel_size=1, stride=self.stride).permute(0, 2, 1)
        return x + change


class PlainEncoderStack(nn.Module):
    """Layers, the positions between them, and the norm that is never called."""

    def __init__(self, layers: list[PlainLayer], channels: int, positioned_frames: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = PlainNorm(channels)
        self.positioned = positioned_frames is not None
        for number in range(1, 4):
            if positioned_frames is not None:
                position = nn.Parameter(torch.randn(1, positioned_frames, channels))
                self.register_parameter(f"pos_embedding_{number}", position)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers, start=1):
            if self.positioned and number <= 3:
                x = x + getattr(self, f"pos_embedding_{number}")[:, : x.shape[1]]
            x = layer(x)
        return x


class PlainTransformer(nn.Module):
    """Adds positions (if it has any) and runs its stack."""

    def __init__(self, model: PlainEncoderStack, position_shape: tuple[int, int, int] | None) -> None:
        super().__init__()
        self.model = model
        self.pos_embedding = None if position_shape is None else nn.Parameter(torch.randn(position_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x if self.pos_embedding is None else x + self.pos_embedding)


class PlainResidual(nn.Module):
    """Two kernel-1 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)
        self.batch_norm1, self.batch_norm2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.relu, self.dropout = nn.LeakyReLU(0.2), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.relu(self.batch_norm1(self.w1(x))))
        return x + self.dropout(self.relu(self.batch_norm2(self.w2(y))))


class PlainFrameEncoder(nn.Module):
    """Kernel-1 convolutions over [B, features, N]."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        width = 2 * channels
        self.fc_1, self.bn_1 = nn.Conv1d(features, width, 1), nn.BatchNorm1d(width)
        self.relu, self.dropout = nn.LeakyReLU(0.2), nn.Dropout(0.1)
        self.layers = nn.ModuleList([PlainResidual(width)])
        self.fc_2 = nn.Conv1d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_2(self.layers[0](self.dropout(self.relu(self.bn_1(self.fc_1(x))))))


class PlainSTMO(nn.Module):
    """The official network as its fact sheet tells it, under the official names. [B, 2, N, J, 1] -> two heads."""

    def __init__(self, config: STMOConfig) -> None:
        super().__init__()
        channels, hidden, heads = config.channels, config.hidden, config.heads
        self.joints = config.joints_out
        self.encoder = PlainFrameEncoder(2 * config.joints_in, channels)
        layers = [PlainLayer(channels, heads, PlainFeedForward(channels, hidden)) for _ in range(config.layers)]
        strided = [
            PlainLayer(channels, heads, PlainStridedFeedForward(channels, hidden, stride), stride)
            for stride in config.strides
        ]
        self.Transformer = PlainTransformer(PlainEncoderStack(layers, channels), (1, config.frames, channels))
        self.Transformer_reduce = PlainTransformer(PlainEncoderStack(strided, channels, config.frames), None)
        self.fcn = nn.Sequential(nn.BatchNorm1d(channels), nn.Conv1d(channels, 3 * config.joints_out, 1))
        self.fcn_1 = nn.Sequential(nn.BatchNorm1d(channels), nn.Conv1d(channels, 3 * config.joints_out, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, frames, _, _ = x.shape
        x = x[..., 0].permute(0, 2, 3, 1).reshape(batch, frames, -1).permute(0, 2, 1)
        x = self.Transformer(self.encoder(x).permute(0, 2, 1))
        all_frames = self._poses(self.fcn_1(x.permute(0, 2, 1)))
        single = self._poses(self.fcn(self.Transformer_reduce(x).permute(0, 2, 1)))
        return single, all_frames

    def _poses(self, channels: Tensor) -> Tensor:
        batch, _, frames = channels.shape
        return channels.view(batch, self.joints, 3, frames).permute(0, 2, 3, 1).unsqueeze(-1)


def lift_plainly(network: PlainSTMO, frames: Tensor, index: Tensor, batch: int) -> Tensor:
    """Poses [T, J, 3] of frames [F, J, 2] through whole windows."""
    windows = frames[index].permute(0, 3, 1, 2).unsqueeze(-1)
    return torch.cat([network(part)[0][:, :, 0, :, 0].transpose(1, 2) for part in windows.split(batch)])


def lift_fused(network: FusedSTMO, frames: Tensor, index: Tensor, batch: int) -> Tensor:
    """Poses [T, J, 3] of frames [F, J, 2], each frame encoded once."""
    embedded = network.embed(frames)
    centres = [network.aggregate(embedded[part]).centre for part in index.split(batch)]
    return torch.cat([centre for centre in centres if centre is not None])


def fastest_s(rounds: int, *forms: Callable[[], Tensor]) -> list[float]:
    """Fastest of `rounds` alternating runs of each form, after one to warm up."""
    best = [math.inf] * len(forms)
    for turn in range(rounds + 1):
        for number, form in enumerate(forms):
            started = time.perf_counter()
            form()
            if turn:
                best[number] = min(best[number], time.perf_counter() - started)
    return best


def measure(receptive_field: int, threads: int, clip_frames: int, batch: int, rounds: int) -> str:
    """One row of the table."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    exact = STMO(STMOConfig(receptive_field)).eval()
    plain = PlainSTMO(exact.config).eval()
    plain.load_state_dict(export_pstmo(exact))
    fused = exact.for_inference()
    frames = torch.randn(clip_frames, 17, 2) / 2
    offsets = window_offsets(receptive_field, stride=1)
    index = torch.from_numpy(window_indices(np.arange(clip_frames), offsets, clip_frames - 1))

    plainly = partial(lift_plainly, plain, frames, index, batch)
    ours = partial(lift_fused, fused, frames, index, batch)
    difference = (plainly() - ours()).abs().max().item()
    plain_s, ours_s = fastest_s(rounds, plainly, ours)
    return (
        f"{receptive_field:>3}  {threads:>7}  {clip_frames / plain_s:>13.0f}  {clip_frames / ours_s:>12.0f}"
        f"  {plain_s / ours_s:>5.2f}  {difference:>18.1e}"
    )


@torch.inference_mode()
def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=150, help="length of the clip")
    parser.add_argument("--batch", type=int, default=50, help="windows at once")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each form")
    options = parser.parse_args()

    print(f"clip of {options.frames} frames, {options.batch} windows at once, torch {torch.__version__}")
    print("  N  threads  plain poses/s  ours poses/s  ratio  largest difference")
    for receptive_field in FRAME_COUNTS:
        for threads in THREADS:
            print(measure(receptive_field, threads, options.frames, options.batch, options.rounds), flush=True)


if __name__ == "__main__":
    main()
