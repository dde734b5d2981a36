"""Runs a lifter on the CPU in PyTorch."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter, answers
from poselift.lifting import finish
from poselift.networks.network import NetworkVariant


def for_inference(artifact: Artifact, device: str) -> Lifter:
    """Return the artifact's lifter on a device, fused for inference."""
    return cast(Lifter, cast(torch.nn.Module, artifact.lifter.for_inference()).to(device))


class TorchNetwork:
    """A lifter on the CPU; each frame is embedded once."""

    sizes_per_doubling = None

    def __init__(self, lifter: Lifter, manifest: Manifest, *, threads: int) -> None:
        """Run a lifter.

        Args:
            lifter: prepared by `for_inference`; several networks may share it.
        """
        self.variant = NetworkVariant("torch", "cpu", "float32", threads)
        self._lifter = lifter
        self._manifest = manifest

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        try:
            return self._forward(frames, index, ahead)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            message = str(error)
        # Raised out here, where the error is released, and with it every tensor of the failed run.
        raise MemoryError(message)

    def close(self) -> None:
        """There is nothing to release."""

    def renewed(self) -> "TorchNetwork":
        return self

    @torch.inference_mode()
    def _forward(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        # PyTorch stores the number of threads per calling thread.
        if torch.get_num_threads() != self.variant.threads:
            torch.set_num_threads(self.variant.threads)
        embedded = self._lifter.embed(torch.from_numpy(frames))
        windows = embedded[torch.from_numpy(index)]  # [W, N, C]
        poses = answers(self._lifter, windows, None if ahead is None else torch.from_numpy(ahead))
        return np.asarray(finish(poses, self._manifest).numpy())


def _is_out_of_memory(error: RuntimeError) -> bool:
    # PyTorch's CPU allocator has no error class of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
