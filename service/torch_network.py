"""Runs a lifter in eager PyTorch, on the CPU or on a GPU."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifact import Artifact, Manifest
from poselift.lifters import Lifter
from poselift.lifting import finish
from service.network import Form


def find_device(wanted: str) -> str:
    """Resolve "auto" to the GPU when there is one, else to the CPU.

    Raises:
        LookupError: there is no such device.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise LookupError("there is no CUDA device, or this PyTorch cannot use it")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def gpu_memory() -> tuple[str, Callable[[], int]] | None:
    """The GPU's name, and what tells the bytes that tensors take on it; None without one."""
    return ("cuda:0", lambda: torch.cuda.memory_allocated(0)) if torch.cuda.is_available() else None


def for_inference(artifact: Artifact, device: str) -> Lifter:
    """The artifact's lifter in its fastest form, on a device."""
    return cast(Lifter, cast(torch.nn.Module, artifact.lifter.for_inference()).to(device))


class TorchNetwork:
    """A lifter in eager PyTorch.

    Frames travel to the device once each and are embedded once each; windows are gathered there.
    """

    sizes_per_doubling = None

    def __init__(self, lifter: Lifter, manifest: Manifest, *, device: str, threads: int) -> None:
        """Args:
        lifter: in the form for inference, on the device; several networks may share it.
        """
        self.form = Form("torch", device, "float32", threads)
        self._lifter = lifter
        self._manifest = manifest
        self._device = torch.device(device)

    @torch.inference_mode()
    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        # PyTorch keeps the number per calling thread.
        if torch.get_num_threads() != self.form.threads:
            torch.set_num_threads(self.form.threads)
        embedded = self._lifter.embed(torch.from_numpy(frames).to(self._device))
        windows = embedded[torch.from_numpy(index).to(self._device)]  # [W, N, C]
        joints = finish(self._lifter.aggregate(windows).centre, self._manifest)
        return np.asarray(joints.float().cpu().numpy())
