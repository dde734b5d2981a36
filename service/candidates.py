"""Makes the networks that an artifact may be served with on this machine."""

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial

from poselift.artifact import Artifact
from service.network import EngineUnavailable, Network
from service.torch_network import TorchNetwork, find_device, for_inference

logger = logging.getLogger(__name__)

Candidates = Sequence[Sequence[Network]]
"""A group for each library; within it, only the number of threads differs. Never empty."""


def candidates(artifact: Artifact, *, library: str, device: str, threads: int) -> Callable[[], Candidates]:
    """Look up what may serve an artifact.

    Args:
        library: "torch", "openvino", or "auto" for each that is there.
        device: "cpu", "cuda", or "auto" for the GPU when there is one and the library can use it.
        threads: CPU threads of the network; 0 for several numbers to choose from.
    Returns:
        What makes the networks; this may take seconds, so a thread of the engine calls it.
    Raises:
        EngineUnavailable: there is no such device, the library is not installed, or it cannot use the device.
    """
    if library == "openvino":
        if device == "cuda":
            raise EngineUnavailable("The engine openvino runs on the CPU only, and the device is to be cuda.")
        if not _has_openvino():
            raise EngineUnavailable("The engine openvino is not installed; pip install 'poselift[openvino]' brings it.")
        return partial(_openvino_only, artifact, _thread_counts(threads))
    try:
        device = find_device(device)
    except LookupError as error:
        raise EngineUnavailable(f"The device {device} cannot be used: {error}.") from error
    if device == "cpu":
        with_openvino = library == "auto" and _has_openvino()
        return partial(_on_the_cpu, artifact, _thread_counts(threads), with_openvino=with_openvino)
    return lambda: [[TorchNetwork(for_inference(artifact, device), artifact.manifest, device=device, threads=1)]]


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _on_the_cpu(artifact: Artifact, thread_counts: Sequence[int], *, with_openvino: bool) -> Candidates:
    lifter = for_inference(artifact, "cpu")
    torch = [TorchNetwork(lifter, artifact.manifest, device="cpu", threads=threads) for threads in thread_counts]
    if not with_openvino:
        return [torch]
    try:
        return [torch, *_openvino_only(artifact, thread_counts)]
    except Exception:
        logger.warning("%s cannot be run by openvino, so torch runs it", artifact.manifest.name, exc_info=True)
        return [torch]


def _openvino_only(artifact: Artifact, thread_counts: Sequence[int]) -> Candidates:
    # Here because the package is optional, and slow to import.
    from service.openvino_network import OpenVinoNetwork, convert

    manifest = artifact.manifest
    graph = convert(for_inference(artifact, "cpu"), manifest.source.n_joints)
    return [[OpenVinoNetwork(graph, manifest, threads=threads) for threads in thread_counts]]


def _thread_counts(wanted: int) -> Sequence[int]:
    if wanted:
        return (wanted,)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({1 << power for power in range(available.bit_length())} | {available})
