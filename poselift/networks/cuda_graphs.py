"""Records and replays CUDA graphs.

Workspaces of cuBLAS belong to a stream, and PyTorch 2.13 frees those of a stream when a graph recorded on it is
destroyed, even if other graphs still use them (pytorch/pytorch#193402). So the graphs of a stream belong to one
network, and are destroyed all together.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from poselift.lifters.lifter import Lifter, answers
from poselift.networks.cuda_device import CudaDevice

# Runs before a graph is recorded, in which CUDA libraries initialize themselves and allocate their workspaces.
_WARM_UP_RUNS = 3


class _Graph(NamedTuple):
    """A CUDA graph from windows of tokens [W, N, C] to poses [W, J, 3] or [W, N, J, 3], and its inputs and output."""

    windows: Tensor
    ahead: Tensor | None
    kernels: Any
    poses: Tensor


class CudaGraphCache:
    """CUDA graphs of a transformer on one stream, recorded for each number of windows, as usual and for targets alone.

    Graphs never run at the same time, so they share their memory and the buffer of their input. Recorded from the
    largest to the smallest, they take as much as the largest.
    """

    def __init__(self, gpu: CudaDevice, transformer: Lifter, stream: Any) -> None:
        self._gpu = gpu
        self._transformer = transformer
        self._stream = stream
        self.clear()

    def __contains__(self, windows_and_kind: tuple[int, bool]) -> bool:
        """Whether the graph for a number of windows is recorded, as usual or for targets alone."""
        return windows_and_kind in self._graphs

    def clear(self) -> None:
        """Destroy all graphs."""
        self._graphs: dict[tuple[int, bool], _Graph] = {}
        self._pool: Any = None
        self._buffer: Tensor | None = None

    def run(self, tokens: Tensor, index: Tensor, ahead: Tensor | None) -> Tensor:
        """Answer windows [W, N] of tokens [U, C], or [W] targets; the next run overwrites the result."""
        graph = self._graphs[len(index), ahead is not None]
        torch.index_select(tokens, 0, index.flatten(), out=graph.windows.flatten(0, 1))
        if graph.ahead is not None and ahead is not None:
            graph.ahead.copy_(ahead)
        graph.kernels.replay()
        return graph.poses

    def record(self, example: Tensor, ahead: Tensor | None) -> None:
        """Record the graph for as many windows as the example has, [W, N, C]. To be called with the GPU alone.

        Args:
            ahead: [W] for answers for targets alone.
        """
        if self._pool is None:
            self._gpu.free_memory(self._stream)  # a recording cannot use what PyTorch caches for other work
            self._pool = self._gpu.new_pool()
        windows = self._input(example)
        for _ in range(_WARM_UP_RUNS):
            answers(self._transformer, windows, ahead)
        kernels, poses = self._gpu.capture(lambda: answers(self._transformer, windows, ahead), self._pool, self._stream)
        self._graphs[len(windows), ahead is not None] = _Graph(windows, ahead, kernels, poses)

    def _input(self, example: Tensor) -> Tensor:
        if self._buffer is None or len(self._buffer) < len(example):
            self._buffer = torch.empty_like(example)
        return self._buffer[: len(example)].copy_(example)
