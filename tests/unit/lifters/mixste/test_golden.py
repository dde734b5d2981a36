"""MixSTE against golden vectors of the official code."""

import pytest
import torch
from torch import Tensor, nn

from poselift.coordinates import mirror
from poselift.lifters.mixste.loss import joint_weights, sequence_loss, training_loss
from poselift.lifters.mixste.network import MixedBlock, MixSTE
from poselift.lifters.official.matches import to_ours
from poselift.lifters.official.mixste import import_mixste, lifter_matches
from poselift.skeletons import skeleton
from poselift.windows import chunk_indices
from tests.golden_files import golden, golden_json
from tests.unit.lifters.golden_steps import GRADIENT, official_weights

NAME = "mixste_c64_n27_d3"
H36M = skeleton("h36m17")
FLOAT32 = 3e-5
"""Rounding: the official float32 and float64 outputs themselves differ by up to 2.4e-6."""
FLOAT64 = 1e-9
"""Detects an eps of 1e-6 instead of 1e-5 in the head, an error of 9e-6."""


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return golden(NAME)


@pytest.fixture
def lifter(vectors: dict[str, Tensor]) -> MixSTE:
    return import_mixste(official_weights(vectors))


def frames_of(lifter: MixSTE, windows: Tensor) -> Tensor:
    poses = lifter(windows)
    assert poses.centre is None
    assert poses.frames is not None
    return poses.frames


@torch.no_grad()
def test_forward_in_float32(lifter: MixSTE, vectors: dict[str, Tensor]) -> None:
    for form in (lifter, lifter.for_inference()):
        frames = frames_of(form, vectors["inputs/x_BTJ2"])
        torch.testing.assert_close(frames, vectors["outputs/pose_BTJ3"], atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_forward_in_float64(lifter: MixSTE, vectors: dict[str, Tensor]) -> None:
    frames = frames_of(lifter.double(), vectors["inputs/x_BTJ2"].double())
    torch.testing.assert_close(frames[-1:], vectors["outputs_f64/pose_last_sample"], atol=FLOAT64, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("block", [0, 2])
def test_first_and_last_blocks(lifter: MixSTE, vectors: dict[str, Tensor], block: int) -> None:
    seen: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: seen.__setitem__(name, output))

    record(f"after_spatial_block{block}_(BT)JC", lifter.spatial[block])
    record(f"after_temporal_block{block}_(BJ)TC", lifter.temporal[block])
    lifter(vectors["inputs/x_BTJ2"])
    assert len(seen) == 2
    for name, value in seen.items():
        torch.testing.assert_close(value, vectors[f"intermediates/{name}"], atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_mirrored_average(lifter: MixSTE, vectors: dict[str, Tensor]) -> None:
    windows = vectors["inputs/x_BTJ2"]
    averaged = (frames_of(lifter, windows) + mirror(frames_of(lifter, mirror(windows, H36M)), H36M)) / 2
    torch.testing.assert_close(averaged, vectors["outputs/tta_BTJ3"], atol=FLOAT32, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("length", [63, 22])
def test_chunks_of_a_sequence(lifter: MixSTE, vectors: dict[str, Tensor], length: int) -> None:
    index = torch.from_numpy(chunk_indices(length, 27))
    windows = vectors[f"eval/L{length}/sequence_2d"][index]
    assert torch.equal(windows, vectors[f"eval/L{length}/chunks_2d"])
    averaged = (frames_of(lifter, windows) + mirror(frames_of(lifter, mirror(windows, H36M)), H36M)) / 2
    torch.testing.assert_close(averaged, vectors[f"eval/L{length}/pred_chunks_tta"], atol=FLOAT32, rtol=0)


def test_four_training_steps(lifter: MixSTE, vectors: dict[str, Tensor]) -> None:
    expected = golden_json(NAME)["train_mode"]["losses"]
    for module in lifter.train().modules():
        if isinstance(module, MixedBlock):
            module.drop_path = 0.0
    optimiser = torch.optim.AdamW(lifter.parameters(), lr=4e-5, weight_decay=0.1)
    weights = torch.tensor(joint_weights(H36M))
    for step, official in enumerate(expected):
        optimiser.zero_grad()
        loss = sequence_loss(frames_of(lifter, vectors["inputs/x_BTJ2"]), vectors["inputs/gt_BTJ3"], weights)
        loss.total.backward(loss.total.detach())
        if step == 0:
            check_gradients(lifter, vectors)
        optimiser.step()
        terms = [loss.total.item(), loss.position.item(), loss.smoothness.item(), loss.velocity.item()]
        wanted = [official[key] for key in ("total", "weighted_mpjpe", "smooth_term", "velocity_term")]
        assert terms == pytest.approx(wanted, rel=1e-3 if step else 1e-5)


def test_the_loss_that_training_minimises_has_the_official_value_and_gradient(
    lifter: MixSTE, vectors: dict[str, Tensor]
) -> None:
    loss = training_loss(lifter(vectors["inputs/x_BTJ2"]), vectors["inputs/gt_BTJ3"], H36M)
    assert loss.item() == pytest.approx(golden_json(NAME)["train_mode"]["losses"][0]["total"], rel=1e-5)
    loss.backward()
    check_gradients(lifter, vectors)


def check_gradients(lifter: MixSTE, vectors: dict[str, Tensor]) -> None:
    official = {
        key.removeprefix("train/grad_first_iter/"): value
        for key, value in vectors.items()
        if key.startswith("train/grad_first_iter/")
    }
    ours = dict(lifter.named_parameters())
    matches = lifter_matches(lifter.config)
    assert {match.ours for match in matches} == ours.keys()
    for match in matches:
        parameter = ours[match.ours]
        expected = to_ours(match, official, parameter)
        assert parameter.grad is not None
        # The key part of a stacked bias has no gradient; only rounding noise is compared there.
        allowed = GRADIENT * expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, atol=allowed, rtol=0, msg=f"gradient of {match.ours}")


def test_joint_weights_are_the_official_ones() -> None:
    official = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
    assert joint_weights(H36M) == official


def test_the_weighted_distance_equals_the_official_metric() -> None:
    poses = {name: golden("camera_and_metrics")[f"metric/{name}"] for name in ("pred", "target")}
    weights = torch.tensor(joint_weights(H36M), dtype=torch.float64)
    position = sequence_loss(poses["pred"][None], poses["target"][None], weights).position
    assert position.item() == pytest.approx(golden_json("camera_and_metrics")["weighted_mpjpe"], abs=1e-12)
