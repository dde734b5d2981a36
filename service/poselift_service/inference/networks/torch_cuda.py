"""Runs a lifter on a GPU in PyTorch.

Each frame is copied to the GPU and embedded there once, in float32, because coordinates need it; the transformer may
run in a lower precision. Its kernels are small, so they can be recorded as one CUDA graph per batch size, which saves
the CPU from launching each of them.
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
from poselift_service.inference.networks.network import NetworkVariant

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Runs before a graph is recorded, in which CUDA libraries initialize themselves.
_WARM_UP_RUNS = 3


def has_cuda() -> bool:
    """Whether there is a GPU that this PyTorch can use."""
    return torch.cuda.is_available()


def has_fast_bfloat16() -> bool:
    """Whether the GPU supports bfloat16 natively."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def gpu_memory() -> tuple[str, Callable[[], int]] | None:
    """Return the GPU's name and a function that returns the bytes allocated by tensors on it; None without a GPU."""
    return ("cuda:0", lambda: torch.cuda.memory_allocated(0)) if torch.cuda.is_available() else None


class CudaNetwork:
    """A lifter on a GPU, run kernel by kernel or from CUDA graphs."""

    def __init__(self, lifter: Lifter, manifest: Manifest, *, precision: str, cuda_graphs: bool) -> None:
        """Run a lifter.

        Args:
            lifter: float32, on the GPU, prepared by `for_inference`; several networks may share it.
            precision: precision of the transformer: "float32", "bfloat16" or "float16".
            cuda_graphs: whether to record and replay CUDA graphs.
        """
        self.variant = NetworkVariant("torch", "cuda", precision, threads=1, cuda_graphs=cuda_graphs)
        # Recording a graph takes a fraction of a second, and the graph keeps its memory.
        self.sizes_per_doubling = 2 if cuda_graphs else None
        self._manifest = manifest
        self._device = torch.device("cuda")
        self._embedder = lifter
        self._transformer = lifter
        self._dtype = _DTYPES[precision]
        if precision != "float32":
            self._transformer = cast(Lifter, copy.deepcopy(cast(nn.Module, lifter)).to(self._dtype))
        self._cuda_graphs = CudaGraphCache(self._transformer) if cuda_graphs else None
        self._index_copies = torch.cuda.Stream(self._device)

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            return self._forward(frames, index)
        except torch.OutOfMemoryError as error:
            message = str(error)
        # Out here, the error is released, and with it every tensor of the failed run.
        torch.cuda.synchronize(self._device)
        if self._cuda_graphs is not None:
            self._cuda_graphs = CudaGraphCache(self._transformer)
        torch.cuda.empty_cache()
        raise MemoryError(message)

    @torch.inference_mode()
    def _forward(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        computing = torch.cuda.current_stream(self._device)
        # Only copies from pinned memory are asynchronous. The index is several times as large as the frames, and is
        # copied while they are embedded.
        gpu_frames = torch.from_numpy(frames).pin_memory().to(self._device, non_blocking=True)
        with torch.cuda.stream(self._index_copies):
            gpu_index = torch.from_numpy(index).pin_memory().to(self._device, non_blocking=True)
        embedded = self._embedder.embed(gpu_frames).to(self._dtype)
        computing.wait_stream(self._index_copies)
        if self._cuda_graphs is not None:
            poses = self._cuda_graphs.run(embedded, gpu_index)
        else:
            poses = self._transformer.aggregate(embedded[gpu_index]).answer
        joints = finish(poses.float(), self._manifest)
        answer = torch.empty(joints.shape, dtype=joints.dtype, pin_memory=True)
        answer.copy_(joints, non_blocking=True)
        computing.synchronize()
        return np.array(answer.numpy())  # a copy, so that the pinned memory can be reused


class _Graph(NamedTuple):
    """A CUDA graph from windows of tokens [W, N, C] to poses [W, J, 3] or [W, N, J, 3], and its input and output."""

    windows: Tensor
    kernels: torch.cuda.CUDAGraph
    poses: Tensor


class CudaGraphCache:
    """CUDA graphs of a transformer, recorded once for each number of windows."""

    def __init__(self, transformer: Lifter) -> None:
        self._transformer = transformer
        self._graphs: dict[int, _Graph] = {}
        # Graphs never run concurrently, so they share their memory.
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, embedded: Tensor, index: Tensor) -> Tensor:
        """Aggregate windows [W, N] of tokens [U, C]; the next run overwrites the result."""
        graph = self._graphs.get(len(index))
        if graph is None:
            graph = self._graphs[len(index)] = self._record(embedded[index])
        torch.index_select(embedded, 0, index.flatten(), out=graph.windows.flatten(0, 1))
        graph.kernels.replay()
        return graph.poses

    def _record(self, windows: Tensor) -> _Graph:
        current, warm_up = torch.cuda.current_stream(windows.device), torch.cuda.Stream(windows.device)
        warm_up.wait_stream(current)
        with torch.cuda.stream(warm_up):
            for _ in range(_WARM_UP_RUNS):
                self._transformer.aggregate(windows)
        current.wait_stream(warm_up)
        kernels = torch.cuda.CUDAGraph()
        # Engines of other models keep using the GPU from their own threads.
        with torch.cuda.graph(kernels, pool=self._pool, capture_error_mode="thread_local"):
            poses = self._transformer.aggregate(windows).answer
        return _Graph(windows, kernels, poses)
