"""OpenVINO against PyTorch, on the same windows."""

import sys
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from poselift.artifacts.manifest import Manifest
from poselift.lifters import systems
from poselift.lifters.lifter import Lifter
from poselift.networks.network import Network
from poselift.networks.torch_cpu import TorchNetwork

openvino_network = pytest.importorskip(
    "poselift.networks.openvino_cpu", reason="openvino is not installed", exc_type=ImportError
)

SAME_POSES_M = 2e-5
JOINTS = 17


def build(frames: int, system: str = "pstmo", **network: bool) -> tuple[Lifter, Manifest]:
    """Build a narrow network with all layers of a paper's, and random weights that exercise its range."""
    settings = {"frames": frames, "channels": 64, "hidden": 128, **network}
    manifest = Manifest(
        name="random",
        version=1,
        system=system,
        network=settings,
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token" if network.get("mask_token") else "hold",
    )
    with torch.random.fork_rng():
        torch.manual_seed(frames)
        lifter = systems.build(system, settings)
        network_module = cast(nn.Module, lifter)
        for name, parameter in network_module.named_parameters():
            if name.endswith("_position"):  # zero at initialization
                nn.init.normal_(parameter)
        for module in network_module.modules():
            if isinstance(module, nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.3, 2)
    network_module.eval().requires_grad_(requires_grad=False)
    return lifter.for_inference(), manifest


def both(lifter: Lifter, manifest: Manifest) -> tuple[Network, Network]:
    torch_network = TorchNetwork(lifter, manifest, threads=1)
    graph = openvino_network.convert(lifter, manifest)
    return torch_network, openvino_network.OpenVinoNetwork(graph, manifest, threads=1)


def people(frames: int, dimensions: int = 2, *, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    person = random.uniform(-0.4, 0.4, (1, JOINTS, dimensions)) + random.uniform(-0.5, 0.5, (frames, 1, dimensions))
    return (person + random.normal(0, 0.05, (frames, JOINTS, dimensions))).astype(np.float32)


@pytest.mark.parametrize("receptive_field", [27, 81])
@pytest.mark.parametrize("person_centred", [False, True])
def test_poses_equal_those_of_torch(receptive_field: int, person_centred: bool):
    check_poses(*build(receptive_field, mask_token=True, person_centred=person_centred))


def test_expected_errors_equal_those_of_torch():
    lifter, manifest = build(27, mask_token=True, expected_error=True)
    check_poses(lifter, manifest)
    answer = TorchNetwork(lifter, manifest, threads=1).lift(people(27, seed=0), np.arange(27)[None])
    assert answer.shape == (1, JOINTS, 4)


@pytest.mark.parametrize(
    ("system", "receptive_field"), [("mixste", 9), ("mpm", 27), ("mpm-completion", 27), ("pstmo-sequence", 9)]
)
def test_poses_of_other_systems_equal_those_of_torch(system: str, receptive_field: int):
    check_poses(*build(receptive_field, system, mask_token=True))


def check_poses(lifter: Lifter, manifest: Manifest) -> None:
    torch_network, other_network = both(lifter, manifest)
    random = np.random.default_rng(1)
    receptive_field = lifter.receptive_field
    for windows, unique in ((1, receptive_field), (3, 100), (17, 40), (20, 129)):
        frames = people(unique, manifest.frame_shape[1], seed=windows)
        index = random.integers(0, unique, (windows, receptive_field))
        for has_missing_joints in (False, True):
            if has_missing_joints:
                frames[random.random((unique, JOINTS)) < 0.3] = np.nan
                frames[::7, 3, 1] = np.nan  # one of two coordinates
                frames[::5] = np.nan
            expected = torch_network.lift(frames, index)
            assert np.isfinite(expected).all()
            assert expected.std() > 0.1
            np.testing.assert_allclose(other_network.lift(frames, index), expected, atol=SAME_POSES_M)
            if lifter.config.lifts_targets:
                ahead = np.arange(windows) % (receptive_field // 2 + 1)
                targets = torch_network.lift(frames, index, ahead)
                assert targets.shape == expected[:, 0].shape
                np.testing.assert_allclose(other_network.lift(frames, index, ahead), targets, atol=SAME_POSES_M)


def test_an_answer_is_not_overwritten_by_the_next_one():
    torch_network, network = both(*build(9))
    frames, index = people(20, seed=0), np.arange(12)[:, None] + np.arange(9)
    answer = network.lift(frames, index)
    network.lift(people(20, seed=1), index)
    np.testing.assert_allclose(answer, torch_network.lift(frames, index), atol=SAME_POSES_M)


def test_openvino_sends_no_usage_statistics():
    # With its telemetry package, OpenVINO reports that it was imported and what it has converted.
    assert sys.modules["openvino_telemetry"] is None
