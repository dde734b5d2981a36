"""P-STMO's lifter and its training (stage II) against golden vectors of the official code."""

import pytest
import torch
from torch import Tensor, nn

from poselift.coordinates import mirror
from poselift.lifters.blocks import Aggregator
from poselift.lifters.official.matches import to_ours
from poselift.lifters.official.pstmo import import_pstmo, lifter_matches
from poselift.lifters.pstmo.losses import lifting_loss
from poselift.lifters.pstmo.network import STMO
from poselift.skeletons import skeleton
from tests.golden_files import golden, golden_json
from tests.unit.lifters.golden_steps import GRADIENT, NO_GRADIENT, official_weights, without_dropout

NAME = "pstmo_c64_h128_n27_l3"
FLOAT32 = 3e-5
"""Rounding: the official float32 and float64 outputs themselves differ by up to 1e-5."""
FLOAT64 = 1e-9
"""Detects a misplaced eps of 1e-6, an error of 6e-6."""
FUSED = 2e-5
"""Folding changes the order of rounding."""


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return golden(NAME)


@pytest.fixture
def lifter(vectors: dict[str, Tensor]) -> STMO:
    return import_pstmo(official_weights(vectors))[0]


def centre_of(official: Tensor) -> Tensor:
    return official[:, :, 0, :, 0].transpose(1, 2)


def frames_of(official: Tensor) -> Tensor:
    return official[..., 0].permute(0, 2, 3, 1)


def both_heads(lifter: STMO, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Poses of the middle frame and of all frames in eval mode, where the network skips the second head."""
    poses = lifter(windows)
    assert poses.centre is not None
    assert poses.frames is None
    return poses.centre, lifter.frames_head(lifter.temporal(lifter.embed(windows)))


@torch.no_grad()
def test_forward_in_float32(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    centre, frames = both_heads(lifter, vectors["inputs/x_BNJ2"])
    torch.testing.assert_close(centre, centre_of(vectors["outputs/single"]), atol=FLOAT32, rtol=0)
    torch.testing.assert_close(frames, frames_of(vectors["outputs/all_frames"]), atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_forward_in_float64(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    centre, frames = both_heads(lifter.double(), vectors["inputs/x_BNJ2"].double())
    torch.testing.assert_close(centre, centre_of(vectors["outputs_f64/single"]), atol=FLOAT64, rtol=0)
    torch.testing.assert_close(frames, frames_of(vectors["outputs_f64/all_frames"]), atol=FLOAT64, rtol=0)


@torch.no_grad()
def test_each_stage(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    seen: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: seen.__setitem__(name, output))

    record("after_tem_BNC", lifter.temporal)
    for number, layer in enumerate(lifter.temporal.layers):
        record(f"after_tem_layer{number}_BNC", layer)
    assert isinstance(lifter.aggregator, Aggregator)
    for number, layer in enumerate(lifter.aggregator.layers):
        record(f"after_mofa_layer{number}_BTC", layer)
    record("embedded", lifter.embedding)
    lifter(vectors["inputs/x_BNJ2"])

    seen["after_encoder_BCN"] = seen.pop("embedded").transpose(1, 2)
    expected = {key.removeprefix("intermediates/"): value for key, value in vectors.items() if "intermediates" in key}
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(seen[name], value, atol=FLOAT32, rtol=0, msg=f"{name} differs")


@torch.no_grad()
def test_mirrored_average(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    h36m = skeleton("h36m17")
    windows = vectors["inputs/x_BNJ2"]
    mirrored_windows = mirror(windows, h36m)
    assert torch.equal(mirrored_windows, vectors["inputs/x_with_flip_B2NJ2"][:, 1])
    plain, mirrored = both_heads(lifter, windows), both_heads(lifter, mirrored_windows)
    centre, frames = ((a + mirror(b, h36m)) / 2 for a, b in zip(plain, mirrored, strict=True))
    torch.testing.assert_close(centre, centre_of(vectors["outputs/tta_single"]), atol=FLOAT32, rtol=0)
    torch.testing.assert_close(frames, frames_of(vectors["outputs/tta_all_frames"]), atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_inference_form_equals_the_network(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    windows = vectors["inputs/x_BNJ2"]
    exact, fused = lifter(windows), lifter.for_inference()(windows)
    torch.testing.assert_close(fused.centre, exact.centre, atol=FUSED, rtol=0)
    torch.testing.assert_close(fused.centre, centre_of(vectors["outputs/single"]), atol=FLOAT32, rtol=0)
    assert fused.frames is None


def test_four_training_steps(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    expected = golden_json(NAME)["train_mode"]
    without_dropout(lifter.train())
    target = vectors["inputs/gt_3d_BNJ3_root_absolute"].clone()
    target[:, :, 0] = 0
    optimiser = torch.optim.Adam(lifter.parameters(), lr=7e-4, amsgrad=True)
    losses = []
    for step in range(4):
        optimiser.zero_grad()
        loss = lifting_loss(lifter(vectors["inputs/x_BNJ2"]), target)
        loss.backward()
        if step == 0:
            check_gradients(lifter, vectors, expected["grad_l2"])
            check_batch_norms(lifter, vectors)
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(expected["losses"][0], rel=1e-5)
    assert losses[1:] == pytest.approx(expected["losses"][1:], rel=1e-3)


def check_gradients(lifter: STMO, vectors: dict[str, Tensor], norms: dict[str, float]) -> None:
    official = {
        key.removeprefix("train/grad_first_iter/"): value
        for key, value in vectors.items()
        if key.startswith("train/grad_first_iter/")
    }
    ours = dict(lifter.named_parameters())
    compared = 0
    for match in lifter_matches(lifter.config):
        if match.ours not in ours or all(norms[name] < NO_GRADIENT for name in match.official):
            continue
        parameter = ours[match.ours]
        expected = to_ours(match, official, parameter)
        assert parameter.grad is not None
        allowed = GRADIENT * expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, atol=allowed, rtol=0, msg=f"gradient of {match.ours}")
        compared += 1
    assert compared == len(ours) - 4  # the four biases before a BatchNorm have none


def check_batch_norms(lifter: STMO, vectors: dict[str, Tensor]) -> None:
    state = lifter.state_dict()
    official = {match.official[0]: match.ours for match in lifter_matches(lifter.config)}
    expected = {
        key.removeprefix("train/bn_after_first_iter/"): value
        for key, value in vectors.items()
        if key.startswith("train/bn_after_first_iter/")
    }
    assert len(expected) == 10
    for name, value in expected.items():
        torch.testing.assert_close(state[official[name]], value, atol=1e-5, rtol=1e-5)
