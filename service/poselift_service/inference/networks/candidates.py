"""Creates the networks with which an artifact may be served on this machine."""

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Sequence
from functools import partial

from poselift.artifacts.artifact import Artifact
from poselift_service.inference.networks.network import Candidates, EngineUnavailable, Group, Network
from poselift_service.inference.networks.torch_cpu import TorchNetwork, for_inference
from poselift_service.inference.networks.torch_cuda import CudaNetwork, has_cuda, has_fast_bfloat16

# Libraries that run the same network in float32 agree to a few micrometres; one that differs by more is broken.
EXACT_TOLERANCE_M = 1e-4
# The best published networks have an error of 43 mm. Another, independent error of 5 mm makes that 43.3 mm.
LOW_PRECISION_TOLERANCE_M = 5e-3

logger = logging.getLogger(__name__)


def candidates(
    artifact: Artifact, *, library: str, device: str, threads: int, precision: str
) -> Callable[[], Candidates]:
    """Find the networks with which an artifact may be served.

    Args:
        library: "torch", "openvino", or "auto" for those that are installed.
        device: "cpu", "cuda", or "auto" for the GPU if there is one that the library can use.
        threads: CPU threads of the network; 0 for several numbers to choose from.
        precision: "float32", "bfloat16", "float16", or "auto" for float32 and, on a GPU with native support, bfloat16.
    Returns:
        A function that creates the networks; it may take seconds, so the engine's thread calls it.
    Raises:
        EngineUnavailable: there is no such device, the library is not installed, or the options are incompatible.
    """
    if library == "openvino":
        if device == "cuda":
            raise EngineUnavailable("The engine openvino runs on the CPU only, and the device is to be cuda.")
        if not _has_openvino():
            raise EngineUnavailable("The engine openvino is not installed; pip install 'poselift[openvino]' brings it.")
        device = "cpu"
    elif device == "cuda" and not has_cuda():
        raise EngineUnavailable("The device cuda cannot be used: there is none, or this PyTorch cannot use it.")
    elif device == "auto":
        device = "cuda" if has_cuda() else "cpu"
    if device == "cuda":
        return partial(_gpu_candidates, artifact, precision)
    if precision not in ("auto", "float32"):
        raise EngineUnavailable(f"The precision {precision} is for GPUs; on the CPU the network runs in float32.")
    if library == "auto" and not _has_openvino():
        library = "torch"
    return partial(_cpu_candidates, artifact, library, _thread_counts(threads))


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _thread_counts(threads: int) -> Sequence[int]:
    if threads:
        return (threads,)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({1 << power for power in range(available.bit_length())} | {available})


def _cpu_candidates(artifact: Artifact, library: str, thread_counts: Sequence[int]) -> Candidates:
    lifter, manifest = for_inference(artifact, "cpu"), artifact.manifest
    torch_networks = [TorchNetwork(lifter, manifest, threads=threads) for threads in thread_counts]
    groups = []
    if library in ("auto", "torch"):
        groups.append(Group(torch_networks, EXACT_TOLERANCE_M))
    if library in ("auto", "openvino"):
        try:
            groups.append(Group(_openvino_networks(artifact, thread_counts), EXACT_TOLERANCE_M))
        except Exception as error:
            if library == "openvino":
                raise EngineUnavailable(f"The engine openvino cannot run {manifest.name}: {error}") from error
            logger.warning("%s cannot be run by openvino, so torch runs it", manifest.name, exc_info=True)
    return Candidates(torch_networks[0], groups)


def _openvino_networks(artifact: Artifact, thread_counts: Sequence[int]) -> Sequence[Network]:
    # Imported here because the package is optional and slow to import.
    from poselift_service.inference.networks.openvino_cpu import OpenVinoNetwork, convert

    manifest = artifact.manifest
    graph = convert(for_inference(artifact, "cpu"), manifest)
    return [OpenVinoNetwork(graph, manifest, threads=threads) for threads in thread_counts]


def _gpu_candidates(artifact: Artifact, precision: str) -> Candidates:
    lifter = for_inference(artifact, "cuda")

    def networks(precision: str) -> Sequence[Network]:
        return [
            CudaNetwork(lifter, artifact.manifest, precision=precision, cuda_graphs=cuda_graphs)
            for cuda_graphs in (False, True)
        ]

    exact = networks("float32")
    if precision == "float32":
        groups = [Group(exact, EXACT_TOLERANCE_M)]
    elif precision == "auto":
        groups = [Group(exact, EXACT_TOLERANCE_M)]
        # Not float16, though it is closer: one caller's broken keypoints could overflow it and fail a whole batch.
        if has_fast_bfloat16():
            groups.append(Group(networks("bfloat16"), LOW_PRECISION_TOLERANCE_M))
    else:  # requested explicitly: used as long as its poses are finite
        groups = [Group(networks(precision), math.inf)]
    return Candidates(exact[0], groups)
