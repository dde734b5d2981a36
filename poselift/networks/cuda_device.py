"""A GPU as the networks of one process use it.

What CUDA demands of the whole process is arranged here: one recording at a time and no other work meanwhile, a stream
for each network, products in float32, and errors after which nothing works any more.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poselift.networks.network import DeviceLost, EngineUnavailable
from poselift.networks.shared_lock import SharedLock

# PyTorch hands out this many streams in turn, and then the same ones again.
_STREAMS = 32


@functools.cache
def cuda_problem() -> str | None:
    """Why CUDA cannot be used, as a part of a sentence; None if it can. A kernel is run to find out."""
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return None


def unused_gpu() -> str | None:
    """What says that a GPU was meant for this process; None if nothing does."""
    if visible := os.environ.get("NVIDIA_VISIBLE_DEVICES", ""):
        return None if visible in ("void", "none") else f"NVIDIA_VISIBLE_DEVICES is {visible}"
    return "/dev/nvidia0 exists" if Path("/dev/nvidia0").exists() else None


def has_fast_bfloat16() -> bool:
    """Whether the GPU supports bfloat16 natively; such GPUs have TensorFloat-32, too."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def memory_in_use() -> tuple[int, int]:
    """Bytes of the GPU in use by all processes, and those reserved by this one for tensors and graphs."""
    free, total = torch.cuda.mem_get_info(0)
    return total - free, torch.cuda.memory_reserved(0)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that the GPU's memory is used up; libraries report it in their own ways."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
    )


def set_up_cuda() -> None:
    """Choose how GPUs compute in this process; to be called before any work."""
    # An attention plan of cuDNN takes up to a second for each new shape, and its numbers differ.
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    # Environment variables, which some base images set, may have switched TensorFloat-32 on. Where cameras and bones
    # are products, it is off by millimetres.
    torch.backends.cuda.matmul.fp32_precision = "ieee"


class CudaDevice:
    """The GPU of this process."""

    def __init__(self, name: str = "cuda") -> None:
        self.device = torch.device(name)
        self._work = SharedLock()
        self._changing_streams = threading.RLock()  # a network may be collected anywhere
        self._taken: set[int] = set()
        self._returned: list[Any] = []
        set_up_cuda()

    def working(self) -> AbstractContextManager[None]:
        """Run a network. Several threads may, but none while a graph is recorded."""
        return self._work.shared()

    def alone(self) -> AbstractContextManager[None]:
        """Record a graph, free memory, or do something else that no other work may be done beside."""
        return self._work.exclusive()

    @contextlib.contextmanager
    def products(self, precision: str) -> Iterator[None]:
        """Compute float32 products as "ieee" or "tf32". To be used `alone`: it holds for the process."""
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = precision
        try:
            yield
        finally:
            torch.backends.cuda.matmul.fp32_precision = before

    def take_stream(self) -> Any:
        """Take a stream that no other network has; it starts behind the work of the current one.

        Raises:
            EngineUnavailable: all streams are taken.
        """
        with self._changing_streams:
            stream = self._returned.pop() if self._returned else self._new_stream()
            self._taken.add(self._handle(stream))
        self._follow_current(stream)
        return stream

    def return_stream(self, stream: Any) -> None:
        """Return a stream, which keeps a workspace of its own, for the next network. No graph of it may be left."""
        with self._changing_streams:
            if self._handle(stream) in self._taken:
                self._taken.remove(self._handle(stream))
                self._returned.append(stream)

    def _new_stream(self) -> Any:
        for _ in range(_STREAMS):
            stream = self._make_stream()
            if self._handle(stream) not in self._taken:
                return stream
        raise EngineUnavailable(f"More networks than the {_STREAMS} streams of a GPU cannot be loaded.")

    def check(self, stream: Any) -> None:
        """Check that the GPU still works, after an error.

        Raises:
            DeviceLost: it does not compute, or its memory can no longer be managed.
        """
        try:
            with self.alone(), self.on(stream):
                self._probe()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise DeviceLost(f"The GPU no longer works: {str(error).splitlines()[0]}") from error

    def free_memory(self, stream: Any) -> None:
        """Return the memory that PyTorch caches. To be called `alone`."""
        stream.synchronize()
        torch.cuda.empty_cache()

    def capture(self, compute: Callable[[], Tensor], pool: Any, stream: Any) -> tuple[Any, Tensor]:
        """Record what `compute` does on a stream. To be called `alone`.

        `torch.cuda.graph` does the same, but leaves the stream and the memory allocator as they are when it fails, and
        waits for the whole device.

        Returns:
            The graph, and the tensor to which its replays write.
        """
        graph = torch.cuda.CUDAGraph()
        stream.synchronize()
        with self.on(stream):
            try:
                # Other threads may use CUDA meanwhile, for metrics.
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                answer = compute()
                graph.capture_end()
            except BaseException:
                self._end_capture(graph, pool)
                raise
        return graph, answer

    def _end_capture(self, graph: Any, pool: Any) -> None:
        with contextlib.suppress(RuntimeError):
            graph.capture_end()
        # A capture that was invalidated ends without this, and then no memory could ever be freed.
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)

    # What a stand-in for tests replaces, besides `capture` and `free_memory`.

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Launch on a stream inside the context."""
        return torch.cuda.stream(stream)

    def new_pool(self) -> Any:
        """Memory for graphs that never run at the same time."""
        return torch.cuda.graph_pool_handle()

    def upload(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the GPU, behind the work of the current stream."""
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)  # only then asynchronous

    def download(self, tensor: Tensor, stream: Any) -> NDArray[np.float32]:
        """Wait for a stream, and return a copy of a tensor."""
        answer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        answer.copy_(tensor, non_blocking=True)
        stream.synchronize()
        return np.array(answer.numpy())  # a copy, so that the pinned memory can be reused

    def _make_stream(self) -> Any:
        return torch.cuda.Stream(self.device)

    def _handle(self, stream: Any) -> int:
        return int(stream.cuda_stream)

    def _follow_current(self, stream: Any) -> None:
        stream.wait_stream(torch.cuda.current_stream(self.device))

    def _probe(self) -> None:
        torch.ones(1, device=self.device).add_(1).item()
        torch.cuda.empty_cache()


@functools.cache
def cuda_device() -> CudaDevice:
    """The GPU of this process."""
    return CudaDevice()
