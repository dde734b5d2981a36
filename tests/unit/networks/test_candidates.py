"""Which device a network is run on, and what is said of a GPU that is left unused."""

import logging
from functools import partial

import pytest

from poselift.artifacts.artifact import Artifact
from poselift.networks import candidates as module
from poselift.networks.candidates import candidates
from poselift.networks.cuda_device import unused_gpu
from poselift.networks.network import EngineUnavailable
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.torch_cuda import CudaNetwork
from tests.unit.networks.stand_in_gpu import StandInGpu
from tests.unit.networks.test_cuda_stand_in import artifact_of

PROBLEM = "The NVIDIA driver on your system is too old (found version 12080)"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return artifact_of()


def variants(artifact: Artifact, device: str) -> set[str]:
    made = candidates(artifact, library="torch", device=device, threads=1, precision="auto")()
    return {network.variant.device for group in made.groups for network in group.networks}


@pytest.mark.parametrize(
    ("visible", "sign"),
    [("all", "NVIDIA_VISIBLE_DEVICES is all"), ("void", None), ("none", None), ("0", "NVIDIA_VISIBLE_DEVICES is 0")],
)
def test_what_says_that_a_gpu_was_meant(monkeypatch: pytest.MonkeyPatch, visible: str, sign: str | None):
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", visible)
    assert unused_gpu() == sign


@pytest.mark.parametrize("sign", ["NVIDIA_VISIBLE_DEVICES is all", None])
def test_a_gpu_that_cannot_be_used_is_warned_of(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sign: str | None
):
    monkeypatch.setattr(module, "cuda_problem", lambda: PROBLEM)
    monkeypatch.setattr(module, "unused_gpu", lambda: sign)
    with caplog.at_level(logging.WARNING):
        assert variants(artifact, "auto") == {"cpu"}
    expected = [] if sign is None else [f"{sign}, but CUDA cannot be used, so the CPU serves: {PROBLEM}"]
    assert caplog.messages == expected


def test_a_gpu_that_is_demanded_and_cannot_be_used_is_an_error(artifact: Artifact, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "cuda_problem", lambda: PROBLEM)
    with pytest.raises(EngineUnavailable, match="The device cuda cannot be used: The NVIDIA driver on your system"):
        variants(artifact, "cuda")


@pytest.mark.parametrize(("fast", "precisions"), [(True, {"float32", "tf32"}), (False, {"float32"})])
def test_a_gpu_is_compared_with_the_cpu(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, fast: bool, precisions: set[str]
):
    gpu = StandInGpu()
    monkeypatch.setattr(module, "cuda_problem", lambda: None)
    monkeypatch.setattr(module, "cuda_device", lambda: gpu)
    monkeypatch.setattr(module, "has_fast_bfloat16", lambda: fast)
    monkeypatch.setattr(module, "for_inference", lambda artifact, _: for_inference(artifact, "cpu"))
    monkeypatch.setattr(module, "CudaNetwork", partial(CudaNetwork, gpu=gpu))
    made = candidates(artifact, library="auto", device="cuda", threads=1, precision="auto")()
    assert isinstance(made.reference, TorchNetwork)
    assert {network.variant.precision for group in made.groups for network in group.networks} == precisions
    assert [group.tolerance_m for group in made.groups] == [1e-4, 1e-3][: len(made.groups)]
