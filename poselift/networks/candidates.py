"""Creates the networks with which an artifact may be served on this machine."""

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Sequence
from functools import partial

from poselift.artifacts.artifact import Artifact
from poselift.networks.cuda_device import cuda_device, cuda_problem, has_fast_bfloat16, memory_in_use, unused_gpu
from poselift.networks.network import (
    EXACT_TOLERANCE_M,
    Candidates,
    EngineUnavailable,
    Group,
    Network,
)
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.torch_cuda import CudaNetwork

# Products in TensorFloat-32 round their inputs to 10 bits, and everything else is float32.
TF32_TOLERANCE_M = 1e-3
# On a GPU, the CPU lifts this many windows of each person for the comparison; it is slower.
_REFERENCE_WINDOWS = 2

logger = logging.getLogger(__name__)


def candidates(
    artifact: Artifact, *, library: str, device: str, threads: int, precision: str
) -> Callable[[], Candidates]:
    """Find the networks with which an artifact may be served.

    Args:
        library: "torch", "openvino", or "auto" for those that are installed.
        device: "cpu", "cuda", or "auto" for the GPU if there is one that the library can use.
        threads: CPU threads of the network; 0 for several numbers to choose from.
        precision: "float32", "tf32", "bfloat16", "float16", or "auto" for float32 and, on a GPU that has it, tf32.
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
    elif device == "cuda" and (problem := cuda_problem()):
        raise EngineUnavailable(f"The device cuda cannot be used: {problem}.")
    elif device == "auto":
        device = _device()
    if device == "cuda":
        return partial(_gpu_candidates, artifact, precision, max(_thread_counts(threads)))
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
    from poselift.networks.openvino_cpu import OpenVinoNetwork, convert

    manifest = artifact.manifest
    graphs = convert(for_inference(artifact, "cpu"), manifest)
    return [OpenVinoNetwork(graphs, manifest, threads=threads) for threads in thread_counts]


def _gpu_candidates(artifact: Artifact, precision: str, cpu_threads: int) -> Candidates:
    with cuda_device().working():
        lifter = for_inference(artifact, "cuda")
    manifest = artifact.manifest

    def network(precision: str, *, cuda_graphs: bool = True) -> Network:
        return CudaNetwork(lifter, manifest, precision=precision, cuda_graphs=cuda_graphs)

    groups = []
    if precision in ("auto", "float32"):
        either = [network("float32", cuda_graphs=cuda_graphs) for cuda_graphs in (False, True)]
        groups.append(Group(either, EXACT_TOLERANCE_M))
    # Lower precisions are for those who ask for them: their poses depend on the batch size by millimetres, so people
    # who stand still tremble, and a stream differs from the clip. Broken keypoints could also overflow float16.
    if precision == "tf32" or (precision == "auto" and has_fast_bfloat16()):
        groups.append(Group([network("tf32")], TF32_TOLERANCE_M))
    if precision in ("bfloat16", "float16"):  # used as long as its poses are finite
        either = [network(precision, cuda_graphs=cuda_graphs) for cuda_graphs in (False, True)]
        groups.append(Group(either, math.inf, math.inf))
    # Not a network on the same GPU, which could err in the same way.
    reference = TorchNetwork(for_inference(artifact, "cpu"), manifest, threads=cpu_threads)
    return Candidates(reference, groups, _REFERENCE_WINDOWS)


def _device() -> str:
    """The GPU if there is one that works, else the CPU."""
    problem = cuda_problem()
    if problem and (sign := unused_gpu()):
        logger.warning("%s, but CUDA cannot be used, so the CPU serves: %s", sign, problem)
    return "cpu" if problem else "cuda"


def gpu_memory(device: str) -> Callable[[], tuple[int, int]] | None:
    """Return what measures the GPU's memory, as `memory_in_use`; None if the GPU is not used with that setting."""
    return memory_in_use if device != "cpu" and cuda_problem() is None else None
