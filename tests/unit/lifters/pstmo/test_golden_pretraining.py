"""Masked pose modelling (stage I) against golden vectors of the official code."""

import pytest
import torch
from torch import Tensor, nn

from poselift.lifters.official.matches import to_ours
from poselift.lifters.pstmo.network import STMO
from poselift.lifters.pstmo.pretraining import MaskedPoseModel, masked_pose_loss
from tests.golden_files import golden, golden_json
from tests.unit.lifters.golden_steps import GRADIENT, NO_GRADIENT, official_weights, without_dropout
from tests.unit.lifters.pstmo.pretraining_checkpoint import export_pretrained, import_pretrained, pretraining_matches

NAME = "pstmo_pretrain_c64_h128_n27_l3"
FLOAT32 = 3e-5
FLOAT64 = 1e-9


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return golden(NAME)


@pytest.fixture
def model(vectors: dict[str, Tensor]) -> MaskedPoseModel:
    return import_pretrained(official_weights(vectors))


def masks(vectors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return vectors["inputs/temporal_mask_N"].bool(), vectors["inputs/spatial_mask_NJ"].bool()


def official_order(vectors: dict[str, Tensor]) -> Tensor:
    """Frames as the official network returns them: visible in time order, then hidden in time order."""
    return torch.argsort(vectors["inputs/temporal_mask_N"].int(), stable=True)


@torch.no_grad()
def test_reconstruction_and_loss(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    windows = vectors["inputs/x_BNJ2"]
    rebuilt = model(windows, *masks(vectors))
    expected = vectors["outputs/recon_BNJ2"]
    torch.testing.assert_close(rebuilt[:, official_order(vectors)], expected, atol=FLOAT32, rtol=0)
    loss = masked_pose_loss(rebuilt, model.target(windows)).item()
    assert loss == pytest.approx(golden_json(NAME)["eval_loss"], rel=1e-5)


@torch.no_grad()
def test_reconstruction_in_float64(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    rebuilt = model.double()(vectors["inputs/x_BNJ2"].double(), *masks(vectors))
    expected = vectors["outputs_f64/recon_last_sample"][..., 0].permute(0, 2, 3, 1)
    torch.testing.assert_close(rebuilt[-1:, official_order(vectors)], expected, atol=FLOAT64, rtol=0)


@torch.no_grad()
def test_each_stage(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    seen: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: seen.__setitem__(name, output))

    record("after_encoder", model.embedding)
    record("after_tem_visible_BVC", model.temporal)
    record("after_encoder_LN", model.encoded_norm)
    model.decoder[0].register_forward_pre_hook(
        lambda _module, inputs: seen.__setitem__("decoder_input_full_BNC", inputs[0])
    )
    record("after_decoder_BNC", model.decoder[-1])
    model(vectors["inputs/x_BNJ2"], *masks(vectors))

    order = official_order(vectors)
    seen["after_encoder_BCN"] = seen.pop("after_encoder").transpose(1, 2)
    for name in ("decoder_input_full_BNC", "after_decoder_BNC"):
        seen[name] = seen[name][:, order]
    for name, value in seen.items():
        torch.testing.assert_close(value, vectors[f"intermediates/{name}"], atol=FLOAT32, rtol=0)


def test_four_training_steps(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    expected = golden_json(NAME)["train_mode"]
    without_dropout(model.train())
    windows = vectors["inputs/x_BNJ2"]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, amsgrad=True)
    losses = []
    for step in range(4):
        optimiser.zero_grad()
        loss = masked_pose_loss(model(windows, *masks(vectors)), windows)
        loss.backward()
        if step == 0:
            check_gradients(model, vectors, expected["grad_l2"])
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(expected["losses"][0], rel=1e-5)
    assert losses[1:] == pytest.approx(expected["losses"][1:], rel=1e-3)


def check_gradients(model: MaskedPoseModel, vectors: dict[str, Tensor], norms: dict[str, float]) -> None:
    official = {
        key.removeprefix("train/grad_first_iter/"): value
        for key, value in vectors.items()
        if key.startswith("train/grad_first_iter/")
    }
    ours = dict(model.named_parameters())
    compared = 0
    for match in pretraining_matches(model.config):
        if match.ours not in ours or all(norms[name] < NO_GRADIENT for name in match.official):
            continue
        parameter = ours[match.ours]
        expected = to_ours(match, official, parameter)
        assert parameter.grad is not None
        allowed = GRADIENT * expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, atol=allowed, rtol=0, msg=f"gradient of {match.ours}")
        compared += 1
    assert compared == len(ours) - 4  # the four biases before a BatchNorm have none


def test_export_returns_what_was_imported(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    weights = official_weights(vectors)
    exported = export_pretrained(model)
    assert exported.keys() == weights.keys()
    for name, value in exported.items():
        if ".model.norm." not in name:
            assert torch.equal(value, weights[name]), name


def test_lifter_starts_from_the_pretrained_encoder(model: MaskedPoseModel, vectors: dict[str, Tensor]) -> None:
    lifter = STMO(model.config).eval()
    state = model.encoder_state()
    loaded = lifter.load_state_dict(state, strict=False)
    assert not loaded.unexpected_keys
    assert all(name.startswith(("aggregator.", "centre_head.", "frames_head.")) for name in loaded.missing_keys)
    with torch.no_grad():
        windows = vectors["inputs/x_BNJ2"]
        assert torch.equal(lifter.temporal(lifter.embed(windows)), model.temporal(model.embedding(windows)))
