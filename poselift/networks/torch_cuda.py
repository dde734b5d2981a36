"""Runs a lifter on a GPU in PyTorch.

Each frame is copied to the GPU and embedded there once, in float32, because coordinates need it; the transformer may
run in a lower precision. Its kernels are small, so they can be recorded as one CUDA graph per batch size, which saves
the CPU from launching each of them.

A network does all of its work on a stream of its own.
"""

import contextlib
import copy
import logging
import weakref
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter, answers
from poselift.lifting import finish
from poselift.networks.cuda_device import CudaDevice, cuda_device, is_out_of_memory
from poselift.networks.cuda_graphs import CudaGraphCache
from poselift.networks.network import NetworkVariant

_DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Each new size costs time: kernels are chosen, or a graph is recorded, which also keeps its memory.
_SIZES_PER_DOUBLING = 2
# The layers that answer; a coordinate of half a metre has steps of 2 mm in bfloat16.
_LAST_LAYERS = ("head_norm", "head", "error_head")

logger = logging.getLogger(__name__)


class CudaNetwork:
    """A lifter on a GPU, run kernel by kernel or from CUDA graphs."""

    sizes_per_doubling = _SIZES_PER_DOUBLING

    def __init__(
        self,
        lifter: Lifter,
        manifest: Manifest,
        *,
        precision: str,
        cuda_graphs: bool,
        gpu: CudaDevice | None = None,
    ) -> None:
        """Run a lifter.

        Args:
            lifter: float32, on the GPU, prepared by `for_inference`; several networks may share it.
            precision: precision of the transformer: "float32", "tf32" (the products of recorded graphs in
                TensorFloat-32, all else in float32), "bfloat16" or "float16".
            cuda_graphs: whether to record and replay CUDA graphs.
            gpu: the device; that of the process by default.
        """
        self.variant = NetworkVariant("torch", "cuda", precision, threads=1, cuda_graphs=cuda_graphs)
        self._manifest = manifest
        self._gpu = gpu or cuda_device()
        self._embedder = lifter
        self._dtype = _DTYPES[precision]
        with self._gpu.working():
            self._transformer = lifter if self._dtype is torch.float32 else _in_precision(lifter, self._dtype)
            self._stream = self._gpu.take_stream()
        self._graphs = CudaGraphCache(self._gpu, self._transformer, self._stream)
        self._uses_graphs = cuda_graphs
        self._release = weakref.finalize(self, _release, self._gpu, self._graphs, self._stream)
        self._release.atexit = False  # type: ignore[misc]  # typeshed declares it as a class attribute

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        try:
            if self._uses_graphs and (len(index), ahead is not None) not in self._graphs:
                self._record(frames, index, ahead)
            with self._gpu.working(), self._gpu.on(self._stream):
                return self._forward(frames, index, ahead)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                self._gpu.check(self._stream)
                raise
            message = str(error)
        # Out here, the error is released, and with it every tensor of the failed run.
        self._free_memory()
        raise MemoryError(message)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError), self._gpu.alone():  # of a lost device
            self._release()
            self._gpu.free_memory(self._stream)

    def renewed(self) -> "CudaNetwork":
        self.close()
        precision, cuda_graphs = self.variant.precision, self.variant.cuda_graphs
        return CudaNetwork(self._embedder, self._manifest, precision=precision, cuda_graphs=cuda_graphs, gpu=self._gpu)

    @torch.inference_mode()
    def _forward(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        tokens = self._embed(frames)
        # The index is several times as large as the frames. It is copied to pinned memory while they are embedded.
        indices = self._gpu.upload(index.astype(np.int32))
        later = None if ahead is None else self._gpu.upload(ahead)
        if self._uses_graphs:
            poses = self._graphs.run(tokens, indices, later)
        else:
            poses = answers(self._transformer, tokens[indices], later)
        return self._gpu.download(finish(poses.float(), self._manifest), self._stream)

    def _embed(self, frames: NDArray[np.float32]) -> Tensor:
        return self._embedder.embed(self._gpu.upload(frames)).to(self._dtype)

    @torch.inference_mode()
    def _record(self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None) -> None:
        """Record the graph for a number of windows; if that fails, launch kernels one by one from now on.

        Raises:
            DeviceLost: the failure left the GPU unusable.
            RuntimeError: there is not enough memory.
        """
        try:
            products = "tf32" if self.variant.precision == "tf32" else "ieee"
            with self._gpu.alone(), self._gpu.on(self._stream), self._gpu.products(products):
                later = None if ahead is None else self._gpu.upload(ahead)
                self._graphs.record(self._embed(frames)[self._gpu.upload(index)], later)
            return
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            logger.warning(
                "%s: a CUDA graph could not be recorded, so kernels are launched one by one",
                self._manifest.name,
                exc_info=True,
            )
        self._uses_graphs = False
        with self._gpu.alone():
            self._graphs.clear()
        self._gpu.check(self._stream)

    def _free_memory(self) -> None:
        with self._gpu.alone():
            self._graphs.clear()
            self._gpu.free_memory(self._stream)


def _release(gpu: CudaDevice, graphs: "CudaGraphCache", stream: Any) -> None:
    graphs.clear()
    gpu.return_stream(stream)


def _in_precision(lifter: Lifter, dtype: torch.dtype) -> Lifter:
    """A copy in a lower precision, whose last layers stay in float32."""
    module = copy.deepcopy(cast(nn.Module, lifter)).to(dtype)
    for name in _LAST_LAYERS:
        if (layer := getattr(module, name, None)) is not None:
            layer.float().register_forward_pre_hook(_to_float32)
    return cast(Lifter, module)


def _to_float32(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)
