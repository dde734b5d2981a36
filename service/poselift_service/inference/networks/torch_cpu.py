"""Runs a lifter on the CPU in PyTorch."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter
from poselift.lifting import finish
from poselift_service.inference.networks.network import Form


def for_inference(artifact: Artifact, device: str) -> Lifter:
    """The artifact's lifter in its fastest form, on a device."""
    return cast(Lifter, cast(torch.nn.Module, artifact.lifter.for_inference()).to(device))


class TorchNetwork:
    """A lifter on the CPU; each frame is embedded once."""

    sizes_per_doubling = None

    def __init__(self, lifter: Lifter, manifest: Manifest, *, threads: int) -> None:
        """Args:
        lifter: in the form for inference; several networks may share it.
        """
        self.form = Form("torch", "cpu", "float32", threads)
        self._lifter = lifter
        self._manifest = manifest

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            return self._lift(frames, index)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            message = str(error)
        # Here the error, and with it every tensor of the failed run, is gone.
        raise MemoryError(message)

    @torch.inference_mode()
    def _lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        # PyTorch keeps the number per calling thread.
        if torch.get_num_threads() != self.form.threads:
            torch.set_num_threads(self.form.threads)
        embedded = self._lifter.embed(torch.from_numpy(frames))
        windows = embedded[torch.from_numpy(index)]  # [W, N, C]
        return np.asarray(finish(self._lifter.aggregate(windows).answer, self._manifest).numpy())


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The allocator of the CPU has no error of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
