"""Which device a network is run on, and what is said of a GPU that is left unused."""

import logging

import pytest

from poselift.artifacts.artifact import Artifact
from poselift.networks import candidates as module
from poselift.networks.candidates import candidates
from poselift.networks.cuda_device import unused_gpu
from poselift.networks.network import EngineUnavailable
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
