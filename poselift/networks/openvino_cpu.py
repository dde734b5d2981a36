"""Runs a lifter on the CPU in OpenVINO, converted from PyTorch.

Its poses agree with PyTorch's to float32 rounding, including where joints are missing. This module can only be imported
if the optional package is installed.
"""

import sys
import warnings
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter, answers
from poselift.lifting import finish
from poselift.networks.network import NetworkVariant, padded_size

# OpenVINO sends usage statistics as soon as it is imported, unless its telemetry package cannot be imported.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))
import openvino  # noqa: E402

# Each new number of frames keeps up to a megabyte of compiled kernels. Padding frames is cheap: a frame costs a
# hundredth of a window.
_FRAME_SIZES_PER_DOUBLING = 2


class OpenVinoNetwork:
    """A lifter compiled for the CPU as float32 graphs from frames and index to poses."""

    # Windows keep kernels, too, but are not cheap to pad: with 16 sizes, at most 1/16 of a batch is padding.
    sizes_per_doubling = 16

    def __init__(self, graphs: "Graphs", manifest: Manifest, *, threads: int) -> None:
        """Compile graphs made by `convert`; several networks may share them."""
        self.variant = NetworkVariant("openvino", "cpu", "float32", threads)
        self._manifest = manifest
        self._requests = [_compiled(graph, threads) for graph in graphs if graph is not None]

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        padded = np.zeros((padded_size(len(frames), _FRAME_SIZES_PER_DOUBLING), *frames.shape[1:]), dtype=np.float32)
        padded[: len(frames)] = frames
        inputs = [padded, index] if ahead is None else [padded, index, ahead]
        answer = self._requests[ahead is not None].infer(inputs, share_inputs=True, share_outputs=True)[0]
        # `answer` is overwritten by the next batch; `finish` copies it.
        return np.asarray(finish(torch.from_numpy(answer), self._manifest).numpy())

    def close(self) -> None:
        """There is nothing to release."""

    def renewed(self) -> "OpenVinoNetwork":
        return self


class Graphs(NamedTuple):
    """A lifter's graphs from frames and index to poses.

    Attributes:
        windows: answers windows as usual.
        targets: also takes the number of samples ahead, and answers for targets alone; None if the lifter does not.
    """

    windows: "openvino.Model"
    targets: "openvino.Model | None"


@torch.no_grad()
def convert(lifter: Lifter, manifest: Manifest) -> Graphs:
    """Convert a lifter on the CPU, prepared by `for_inference`.

    Raises:
        Exception: OpenVINO does not support an operation of the lifter.
    """
    receptive_field = lifter.receptive_field
    frames = torch.zeros(receptive_field + 1, *manifest.frame_shape)
    index = torch.stack([torch.arange(receptive_field), torch.arange(receptive_field) + 1])
    ahead = torch.arange(2)
    return Graphs(
        _converted(_FramesAndIndex(lifter), frames, index),
        _converted(_FramesAndIndex(lifter), frames, index, ahead) if lifter.config.lifts_targets else None,
    )


def _converted(network: nn.Module, *example: Tensor) -> "openvino.Model":
    """Convert a network for inputs [U, ...], [W, N] ... of any U and W."""
    with warnings.catch_warnings():
        # Tracing is deprecated, but its successor takes ten times as long to produce the same graph.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
    return openvino.convert_model(traced, input=[openvino.PartialShape([-1, *part.shape[1:]]) for part in example])


def _compiled(graph: "openvino.Model", threads: int) -> "openvino.InferRequest":
    compiled = openvino.Core().compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on CPUs that support it
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # the event loop and other models need the cores too
        },
    )
    return compiled.create_infer_request()


class _FramesAndIndex(nn.Module):
    """Lift the windows that an index [W, N] makes of frames [U, J, 2], each frame embedded once."""

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.lifter = lifter

    def forward(self, frames: Tensor, index: Tensor, ahead: Tensor | None = None) -> Tensor:
        return answers(self.lifter, self.lifter.embed(frames)[index], ahead)
