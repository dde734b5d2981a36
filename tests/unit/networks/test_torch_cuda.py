"""A network on a GPU against the same network on the CPU."""

import threading
import warnings

import numpy as np
import pytest
import torch

from poselift.artifacts.artifact import Artifact
from poselift.networks.autotune import Benchmark
from poselift.networks.cuda_device import cuda_device, memory_in_use
from poselift.networks.network import padded_size
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.torch_cuda import CudaNetwork
from tests.random_artifact import random_artifact

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

NETWORK = {"frames": 27, "channels": 64, "hidden": 128, "mask_token": True, "person_centred": True}
# Only the order of summation differs in float32. Low precisions: a random network has poses of a metre and more.
WITHIN_M = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 3e-2, "float16": 5e-3}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return random_artifact("pstmo", NETWORK)


def network_of(artifact: Artifact, precision: str, *, cuda_graphs: bool) -> CudaNetwork:
    lifter = for_inference(artifact, "cuda")
    return CudaNetwork(lifter, artifact.manifest, precision=precision, cuda_graphs=cuda_graphs)


def reference_of(artifact: Artifact) -> TorchNetwork:
    return TorchNetwork(for_inference(artifact, "cpu"), artifact.manifest, threads=1)


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("precision", WITHIN_M)
def test_poses_equal_those_of_the_cpu(artifact: Artifact, precision: str, cuda_graphs: bool):
    network, reference = network_of(artifact, precision, cuda_graphs=cuda_graphs), reference_of(artifact)
    benchmark = Benchmark.of(artifact.manifest)
    # Each graph is recorded once and replayed for other people.
    for person, windows in enumerate((1, 5, 16, 5, 1)):
        frames, index = benchmark.windows(padded_size(windows, network.sizes_per_doubling), person)
        expected = reference.lift(frames, index)
        np.testing.assert_allclose(network.lift(frames, index), expected, atol=WITHIN_M[precision])


@pytest.mark.parametrize(("precision", "within_m"), [("float32", 1e-5), ("bfloat16", 1e-3), ("float16", 1e-3)])
def test_poses_are_the_same_with_and_without_cuda_graphs(artifact: Artifact, precision: str, within_m: float):
    each, graphs = (network_of(artifact, precision, cuda_graphs=cuda_graphs) for cuda_graphs in (False, True))
    for person in range(3):
        frames, index = Benchmark.of(artifact.manifest).windows(8, person)
        np.testing.assert_allclose(each.lift(frames, index), graphs.lift(frames, index), atol=within_m)


def test_a_network_stays_right_when_another_one_is_closed(artifact: Artifact):
    """PyTorch 2.13 frees cuBLAS workspaces of a stream when a graph that was recorded on it is destroyed."""
    kept, closed = (network_of(artifact, "float32", cuda_graphs=True) for _ in range(2))
    windows = [Benchmark.of(artifact.manifest).windows(size, 1) for size in (16, 1)]
    expected = [reference_of(artifact).lift(*these) for these in windows]
    for network in (kept, closed):
        for these in windows:
            network.lift(*these)
    closed.close()
    torch.cuda.empty_cache()
    filler = torch.full((1 << 28,), torch.nan, device="cuda")
    for these, right in zip(windows, expected, strict=True):
        np.testing.assert_allclose(kept.lift(*these), right, atol=WITHIN_M["float32"])
    del filler


def test_a_network_lifts_while_another_one_records(artifact: Artifact):
    serving, other = (network_of(artifact, "float32", cuda_graphs=cuda_graphs) for cuda_graphs in (False, True))
    benchmark, stop, differences = Benchmark.of(artifact.manifest), threading.Event(), []
    frames, index = benchmark.windows(4, 1)
    expected = reference_of(artifact).lift(frames, index)

    def serve() -> None:
        while not stop.is_set():
            differences.append(float(np.abs(serving.lift(frames, index) - expected).max()))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        benchmark.warm_all_sizes(other, 64)
    finally:
        stop.set()
        thread.join()
    assert max(differences) < WITHIN_M["float32"]


def test_memory_that_runs_out_leaves_the_network_serving(artifact: Artifact):
    network = network_of(artifact, "float32", cuda_graphs=True)
    benchmark = Benchmark.of(artifact.manifest)
    expected = reference_of(artifact).lift(*benchmark.windows(2, 1))
    network.lift(*benchmark.windows(2))
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (8 << 20)) / total)
    try:
        with pytest.raises(MemoryError):
            network.lift(*benchmark.windows(4096))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(network.lift(*benchmark.windows(2, 1)), expected, atol=WITHIN_M["float32"])


def test_a_lift_waits_for_the_gpu_once(artifact: Artifact):
    network = network_of(artifact, "float32", cuda_graphs=True)
    frames, index = Benchmark.of(artifact.manifest).windows(4)
    network.lift(frames, index)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            network.lift(frames, index)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len([warning for warning in caught if "synchroniz" in str(warning.message)]) == 1


def test_memory_in_use_is_reported():
    cuda_device()
    torch.ones(1, device="cuda")
    used, reserved = memory_in_use()
    assert used >= reserved > 0
