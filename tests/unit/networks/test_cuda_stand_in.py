"""Networks for a GPU, on a stand-in that computes on the CPU and fails on demand."""

import gc
import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from poselift.artifacts.artifact import Artifact
from poselift.networks.autotune import Benchmark, Choice, choose
from poselift.networks.cuda_device import is_out_of_memory
from poselift.networks.network import (
    Candidates,
    DeviceLost,
    EngineUnavailable,
    Group,
    Network,
)
from poselift.networks.shared_lock import SharedLock
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.torch_cuda import CudaNetwork
from tests.random_artifact import random_artifact
from tests.unit.networks.stand_in_gpu import StandInGpu

NETWORK = {"frames": 9, "channels": 16, "hidden": 32, "layers": 1, "heads": 2, "mask_token": True}
SAME_M = 1e-5
STOP_S = 60.0


def artifact_of(system: str = "pstmo", **network: object) -> Artifact:
    return random_artifact(system, NETWORK | network)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return artifact_of()


@pytest.fixture
def gpu() -> StandInGpu:
    return StandInGpu()


@pytest.fixture
def make(artifact: Artifact, gpu: StandInGpu) -> Callable[..., CudaNetwork]:
    def network(precision: str = "float32", *, cuda_graphs: bool = True) -> CudaNetwork:
        lifter = for_inference(artifact, "cpu")
        return CudaNetwork(lifter, artifact.manifest, precision=precision, cuda_graphs=cuda_graphs, gpu=gpu)

    return network


def reference(artifact: Artifact) -> TorchNetwork:
    return TorchNetwork(for_inference(artifact, "cpu"), artifact.manifest, threads=1)


def assert_right(network: Network, artifact: Artifact, windows: int, person: int, within_m: float = SAME_M) -> None:
    frames, index = Benchmark.of(artifact.manifest).windows(windows, person)
    expected = reference(artifact).lift(frames, index)
    np.testing.assert_allclose(network.lift(frames, index), expected, atol=within_m)


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize(("precision", "within_m"), [("float32", SAME_M), ("tf32", SAME_M), ("bfloat16", 0.1)])
def test_every_replay_answers_for_its_own_person(
    make: Callable[..., CudaNetwork], artifact: Artifact, precision: str, within_m: float, cuda_graphs: bool
):
    network = make(precision, cuda_graphs=cuda_graphs)
    for person, windows in enumerate((16, 1, 6, 16, 1, 24)):
        assert_right(network, artifact, windows, person, within_m)


@pytest.mark.parametrize("system", ["pstmo", "mixste", "mpm-completion"])
def test_the_last_layers_answer_in_float32(system: str, gpu: StandInGpu):
    artifact = artifact_of(system)
    lifter = for_inference(artifact, "cpu")
    network = CudaNetwork(lifter, artifact.manifest, precision="bfloat16", cuda_graphs=False, gpu=gpu)
    poses = torch.from_numpy(network.lift(*Benchmark.of(artifact.manifest).windows(2)))
    steps = (poses - poses.bfloat16().float()).abs()
    assert (steps > 0).double().mean() > 0.5  # bfloat16 would answer with its own numbers


def test_products_are_in_tf32_only_while_such_a_network_records(make: Callable[..., CudaNetwork], gpu: StandInGpu):
    windows = Benchmark.of(artifact_of().manifest).windows
    make("float32").lift(*windows(2))
    assert gpu.products_while_recording == {"ieee"}
    network = make("tf32")
    network.lift(*windows(2))
    assert gpu.products_while_recording == {"ieee", "tf32"}
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_after_a_failed_recording_a_network_serves_eagerly(
    make: Callable[..., CudaNetwork], artifact: Artifact, gpu: StandInGpu, caplog: pytest.LogCaptureFixture
):
    network = make("tf32")
    assert_right(network, artifact, 4, 0)
    gpu.capture_failure = torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")
    for person, windows in enumerate((8, 4, 1)):
        assert_right(network, artifact, windows, person)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert gpu.launches_on is None
    assert gpu.destroyed.total() == 1
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    gpu.capture_failure = None
    assert_right(network, artifact, 2, 0)
    assert sum(map(len, gpu.recorded.values())) == 1


@pytest.mark.parametrize("message", ["an illegal memory access was encountered", "INTERNAL ASSERT FAILED"])
def test_a_lost_gpu_is_told_from_a_bad_batch(make: Callable[..., CudaNetwork], gpu: StandInGpu, message: str):
    network = make()
    frames, index = Benchmark.of(artifact_of().manifest).windows(2)
    with pytest.raises(RuntimeError) as bad:
        network.lift(frames[:, :5], index)
    assert not isinstance(bad.value, DeviceLost)
    gpu.probe_failure = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError) as bad:
        network.lift(frames[:, :5], index)
    assert not isinstance(bad.value, DeviceLost)
    gpu.probe_failure = RuntimeError(message)
    with pytest.raises(DeviceLost, match=message):
        network.lift(frames[:, :5], index)
    network.close()


def test_a_recording_that_breaks_the_gpu_loses_it(make: Callable[..., CudaNetwork], gpu: StandInGpu):
    gpu.capture_failure = RuntimeError("capture")
    gpu.probe_failure = RuntimeError("captures_underway INTERNAL ASSERT FAILED")
    with pytest.raises(DeviceLost, match="captures_underway"):
        make().lift(*Benchmark.of(artifact_of().manifest).windows(2))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_without_memory_all_graphs_are_destroyed_and_recorded_again(
    make: Callable[..., CudaNetwork], artifact: Artifact, gpu: StandInGpu, error: RuntimeError
):
    assert is_out_of_memory(error)
    network = make()
    for windows in (4, 2):
        assert_right(network, artifact, windows, 0)
    gpu.capture_failure = error
    with pytest.raises(MemoryError):
        network.lift(*Benchmark.of(artifact.manifest).windows(16))
    assert gpu.destroyed.total() == 2
    gpu.capture_failure = None
    assert_right(network, artifact, 2, 1)
    assert list(gpu.recorded.values()) == [[4, 2, 2]]


def test_networks_do_not_share_streams(make: Callable[..., CudaNetwork], gpu: StandInGpu):
    networks = [make(cuda_graphs=False) for _ in range(32)]
    assert len({network._stream.handle for network in networks}) == 32
    with pytest.raises(EngineUnavailable, match="32 streams"):
        make()
    freed = networks.pop(7)._stream.handle
    gc.collect()
    networks.append(make())
    assert networks[-1]._stream.handle == freed
    networks[3].close()
    networks[3].close()
    networks.append(make())
    assert networks[-1]._stream.handle == networks[3]._stream.handle
    with pytest.raises(EngineUnavailable):
        make()


def chosen(artifact: Artifact, make: Callable[..., CudaNetwork]) -> Choice:
    exact = [make(cuda_graphs=False), make(cuda_graphs=True)]
    groups = [Group(exact, 1e-4), Group([make("tf32")], 1e-3)]
    return choose(Candidates(reference(artifact), groups, 2), Benchmark.of(artifact.manifest))


def test_the_chosen_network_is_built_anew_and_recorded_from_the_largest_down(
    artifact: Artifact, make: Callable[..., CudaNetwork], gpu: StandInGpu
):
    choice = chosen(artifact, make)
    assert isinstance(choice.network, CudaNetwork)
    living = choice.network._stream.handle
    if choice.network.variant.cuda_graphs:
        sizes = [size for size in gpu.recorded[living] if (size, False) in choice.network._graphs]
        kept = sizes[-len(choice.network._graphs._graphs) :]
        assert kept == sorted(kept, reverse=True)
        assert kept[0] == choice.batch_windows
        # All that is destroyed on that stream was destroyed before the first graph that is kept was recorded.
        assert gpu.destroyed[living] == len(gpu.recorded[living]) - len(kept)
    assert gpu._taken == {living}


def test_a_gpu_whose_replays_ignore_their_input_serves_without_graphs(
    artifact: Artifact, make: Callable[..., CudaNetwork], gpu: StandInGpu, caplog: pytest.LogCaptureFixture
):
    gpu.replays_right = False
    with caplog.at_level(logging.INFO):
        choice = chosen(artifact, make)
    assert not choice.network.variant.cuda_graphs
    assert "is not used: its poses are up to" in caplog.text
    assert_right(choice.network, artifact, 3, 7)


def test_two_networks_warm_up_beside_traffic(artifact: Artifact, make: Callable[..., CudaNetwork], gpu: StandInGpu):
    serving, stop = make(), threading.Event()
    failures: list[object] = []
    frames, index = Benchmark.of(artifact.manifest).windows(4, 5)
    expected = reference(artifact).lift(frames, index)
    lifted = 0

    def traffic() -> None:
        nonlocal lifted
        while not stop.is_set():
            if not np.allclose(serving.lift(frames, index), expected, atol=SAME_M):
                failures.append("wrong poses")
            lifted += 1

    def warm_up() -> None:
        try:
            choices.append(chosen(artifact, make))
        except BaseException as error:
            failures.append(error)
            raise

    choices: list[Choice] = []
    threads = [threading.Thread(target=target) for target in (traffic, warm_up, warm_up)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(STOP_S)
    stop.set()
    threads[0].join(STOP_S)
    assert failures == []
    assert len(choices) == 2
    assert lifted > 10
    for person, choice in enumerate(choices):
        assert_right(choice.network, artifact, 2, person)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_is_not_built_while_a_graph_is_recorded(
    make: Callable[..., CudaNetwork], gpu: StandInGpu, precision: str
):
    built = threading.Event()

    def build() -> None:
        make(precision)
        built.set()

    thread = threading.Thread(target=build)
    with gpu.alone():
        thread.start()
        assert not built.wait(0.05)
    assert built.wait(STOP_S)
    thread.join()


def test_the_lock_is_shared_or_exclusive():
    lock, inside = SharedLock(), threading.Barrier(2)
    entered = threading.Event()

    def share() -> None:
        with lock.shared():
            inside.wait(STOP_S)

    def take() -> None:
        with lock.exclusive():
            entered.set()

    with lock.shared():
        sharer, taker = threading.Thread(target=share), threading.Thread(target=take)
        sharer.start()
        inside.wait(STOP_S)
        sharer.join(STOP_S)
        taker.start()
        assert not entered.wait(0.05)
    assert entered.wait(STOP_S)
    taker.join(STOP_S)
