"""Runs a lifter on a GPU in PyTorch.

Frames travel to the GPU once each and are embedded there once each, in float32, because coordinates need it; the
transformer may run in less. Its kernels are small, so it can be recorded as one graph for each number of windows, which
spares the processor the launching of each.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter
from poselift.lifting import finish
from poselift_service.inference.networks.network import Form

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Runs of a network that set its libraries up, before it is recorded.
_RUNS_BEFORE_RECORDING = 3


def has_cuda() -> bool:
    """Whether there is a GPU that this PyTorch can use."""
    return torch.cuda.is_available()


def has_fast_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16 itself."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def gpu_memory() -> tuple[str, Callable[[], int]] | None:
    """The GPU's name, and what tells the bytes that tensors take on it; None without one."""
    return ("cuda:0", lambda: torch.cuda.memory_allocated(0)) if torch.cuda.is_available() else None


class CudaNetwork:
    """A lifter on a GPU, kernel by kernel or from recorded graphs."""

    def __init__(self, lifter: Lifter, manifest: Manifest, *, precision: str, recorded: bool) -> None:
        """Args:
        lifter: in float32, in the form for inference, on the GPU; several networks may share it.
        precision: of the transformer: "float32", "bfloat16" or "float16".
        recorded: whether to record it.
        """
        self.form = Form("torch", "cuda", precision, threads=1, recorded=recorded)
        # Recording takes a part of a second, and a graph keeps its memory.
        self.sizes_per_doubling = 2 if recorded else None
        self._manifest = manifest
        self._device = torch.device("cuda")
        self._embedder = lifter
        self._transformer = lifter
        self._dtype = _DTYPES[precision]
        if precision != "float32":
            self._transformer = cast(Lifter, copy.deepcopy(cast(nn.Module, lifter)).to(self._dtype))
        self._recording = _Recording(self._transformer) if recorded else None
        self._index_copies = torch.cuda.Stream(self._device)

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            return self._lift(frames, index)
        except torch.OutOfMemoryError as error:
            message = str(error)
        # Here the error, and with it every tensor of the failed run, is gone.
        torch.cuda.synchronize(self._device)
        if self._recording is not None:
            self._recording = _Recording(self._transformer)
        torch.cuda.empty_cache()
        raise MemoryError(message)

    @torch.inference_mode()
    def _lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        computing = torch.cuda.current_stream(self._device)
        # Only from pinned memory does a copy go on by itself. The index is several times as large as the frames, and
        # travels while they are embedded.
        frames_there = torch.from_numpy(frames).pin_memory().to(self._device, non_blocking=True)
        with torch.cuda.stream(self._index_copies):
            index_there = torch.from_numpy(index).pin_memory().to(self._device, non_blocking=True)
        embedded = self._embedder.embed(frames_there).to(self._dtype)
        computing.wait_stream(self._index_copies)
        if self._recording is not None:
            poses = self._recording.run(embedded, index_there)
        else:
            poses = self._transformer.aggregate(embedded[index_there]).answer
        joints = finish(poses.float(), self._manifest)
        answer = torch.empty(joints.shape, dtype=joints.dtype, pin_memory=True)
        answer.copy_(joints, non_blocking=True)
        computing.synchronize()
        return np.array(answer.numpy())  # a copy, so that the pinned memory can be used again


class _Graph(NamedTuple):
    """The kernels from windows of tokens [W, N, C] to poses [W, J, 3] or [W, N, J, 3], and where both lie."""

    windows: Tensor
    kernels: torch.cuda.CUDAGraph
    poses: Tensor


class _Recording:
    """A transformer's kernels, recorded once for each number of windows."""

    def __init__(self, transformer: Lifter) -> None:
        self._transformer = transformer
        self._graphs: dict[int, _Graph] = {}
        # They never run at the same time, so they may share their memory.
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, embedded: Tensor, index: Tensor) -> Tensor:
        """Aggregate windows [W, N] of tokens [U, C]; the next run overwrites the answer."""
        graph = self._graphs.get(len(index))
        if graph is None:
            graph = self._graphs[len(index)] = self._record(embedded[index])
        torch.index_select(embedded, 0, index.flatten(), out=graph.windows.flatten(0, 1))
        graph.kernels.replay()
        return graph.poses

    def _record(self, windows: Tensor) -> _Graph:
        current, aside = torch.cuda.current_stream(windows.device), torch.cuda.Stream(windows.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_RUNS_BEFORE_RECORDING):
                self._transformer.aggregate(windows)
        current.wait_stream(aside)
        kernels = torch.cuda.CUDAGraph()
        # The engines of other models go on using the GPU from their own threads.
        with torch.cuda.graph(kernels, pool=self._pool, capture_error_mode="thread_local"):
            poses = self._transformer.aggregate(windows).answer
        return _Graph(windows, kernels, poses)
