"""A network on a GPU against the same network on the CPU."""

import numpy as np
import pytest
import torch
from poselift_service.inference.networks.autotune import Benchmark
from poselift_service.inference.networks.candidates import LOW_PRECISION_TOLERANCE_M
from poselift_service.inference.networks.network import padded_size
from poselift_service.inference.networks.torch_cpu import TorchNetwork, for_inference
from poselift_service.inference.networks.torch_cuda import CudaNetwork, gpu_memory

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters import systems

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

NETWORK = {"frames": 27, "channels": 64, "hidden": 128, "mask_token": True, "person_centred": True}
# TensorFloat-32 is off by default in PyTorch, so in float32 only the order of summation differs.
WITHIN_M = {"float32": 1e-4, "bfloat16": 20 * LOW_PRECISION_TOLERANCE_M, "float16": LOW_PRECISION_TOLERANCE_M}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    manifest = Manifest(
        name="random-27",
        version=1,
        system="pstmo",
        network=NETWORK,
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = systems.build("pstmo", NETWORK)
    return Artifact(manifest, lifter)


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("precision", WITHIN_M)
def test_poses_equal_those_of_the_cpu(artifact: Artifact, precision: str, cuda_graphs: bool):
    lifter = for_inference(artifact, "cuda")
    network = CudaNetwork(lifter, artifact.manifest, precision=precision, cuda_graphs=cuda_graphs)
    reference = TorchNetwork(for_inference(artifact, "cpu"), artifact.manifest, threads=1)
    benchmark = Benchmark.of(artifact.manifest)
    for windows in (1, 5, 16, 5, 1):  # each graph is recorded once and replayed later
        size = padded_size(windows, network.sizes_per_doubling) if network.sizes_per_doubling else windows
        frames, index = benchmark.windows(size, person=windows)
        expected = reference.lift(frames, index)
        np.testing.assert_allclose(network.lift(frames, index), expected, atol=WITHIN_M[precision])


def test_poses_are_the_same_with_and_without_cuda_graphs(artifact: Artifact):
    lifter = for_inference(artifact, "cuda")
    each, cuda_graphs = (
        CudaNetwork(lifter, artifact.manifest, precision="float32", cuda_graphs=cuda_graphs)
        for cuda_graphs in (False, True)
    )
    frames, index = Benchmark.of(artifact.manifest).windows(8)
    np.testing.assert_allclose(each.lift(frames, index), cuda_graphs.lift(frames, index), atol=1e-5)


def test_memory_allocated_by_tensors_is_reported():
    gpu = gpu_memory()
    assert gpu is not None
    _, allocated_bytes = gpu
    before = allocated_bytes()
    tensor = torch.zeros(1 << 20, device="cuda")
    assert allocated_bytes() - before >= tensor.nbytes
