"""P-STMO's lifter: sizes, outputs, its form for inference, and costs."""

import dataclasses
from typing import Any

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.official.pstmo import official_parameters
from poselift.lifters.pstmo.losses import lifting_loss, training_loss
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.systems import build, cost
from poselift.skeletons import skeleton
from tests.unit.lifters.pstmo.small import FUSED, MISSING, SHARED, small, trained_like


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"frames": 26}, "frames"),
        ({"frames": "27"}, "frames"),
        ({"channels": 36}, "channels"),
        ({"layers": -1}, "layers"),
        ({"hidden": 1.5}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": "much"}, "dropout"),
        ({"expected_error": 1}, "expected_error"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArtifact) as refused:
        build("pstmo", {"frames": 27} | settings)
    assert refused.value.path == f"network.{field}"


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("frames", [9, 27, 81, 243, 351])
@torch.no_grad()
def test_every_window_length(frames: int, centred: bool) -> None:
    lifter = trained_like(small(frames, centred_aggregator=centred))
    windows = torch.randn(2, frames, 17, 2)
    poses, fused = lifter(windows), lifter.for_inference()(windows)
    assert lifter.receptive_field == frames
    assert poses.centre is not None
    assert poses.centre.shape == (2, 17, 3)
    assert poses.frames is None
    torch.testing.assert_close(fused.centre, poses.centre, atol=FUSED, rtol=0)


def test_training_returns_both_heads_and_reaches_every_parameter() -> None:
    lifter = STMO(small(mask_token=True, person_centred=True))
    windows = torch.randn(4, 27, 17, 2)
    windows[0, 3, 5] = MISSING
    poses = lifter(windows)
    assert poses.frames is not None
    assert poses.frames.shape == (4, 27, 17, 3)
    lifting_loss(poses, torch.randn(4, 27, 17, 3)).backward()
    assert [name for name, p in lifter.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_without_layers_and_aggregator_each_frame_is_lifted_by_itself() -> None:
    lifter = trained_like(dataclasses.replace(small(aggregator=False), layers=0))
    windows = torch.randn(2, 27, 17, 2)
    others = windows.clone()
    others[:, [0, 12, 14, 26]] += 1
    for form in (lifter, lifter.for_inference()):
        with torch.no_grad():
            torch.testing.assert_close(form(others).centre, form(windows).centre)
    assert cost("pstmo", lifter.config).flops.full < cost("pstmo", small()).flops.full


def test_expected_errors_are_a_fourth_column_of_the_output() -> None:
    lifter = trained_like(small(expected_error=True))
    windows = torch.randn(3, 27, 17, 2)
    with torch.no_grad():
        poses, fused = lifter(windows), lifter.for_inference()(windows)
    assert poses.expected_error is not None
    assert poses.expected_error.shape == (3, 17)
    assert (poses.expected_error > 0).all()
    assert poses.answer.shape == (3, 17, 4)
    assert torch.equal(poses.answer[..., 3], poses.expected_error)
    assert torch.equal(poses.answer[..., :3], poses.centre)
    torch.testing.assert_close(fused.answer, poses.answer, atol=FUSED, rtol=FUSED)


def test_expected_errors_send_no_gradient_to_the_poses() -> None:
    lifter = STMO(small(expected_error=True))
    poses = lifter(torch.randn(4, 27, 17, 2))
    target = torch.randn(4, 27, 17, 3)
    (training_loss(poses, target, skeleton("h36m17")) - lifting_loss(poses, target)).backward()
    taught = {name.split(".")[0] for name, p in lifter.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"error_head"}


def test_an_outlier_activation_gives_a_finite_error() -> None:
    lifter = trained_like(small(expected_error=True))
    assert lifter.error_head is not None
    with torch.no_grad():
        lifter.error_head.out.bias.fill_(1e6)
        assert lifter(torch.randn(1, 27, 17, 2)).answer.isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [{}, {"mask_token": True, "person_centred": True, "centred_aggregator": True}],
    ids=["official", "ours"],
)
@torch.no_grad()
def test_windows_may_share_embedded_frames(settings: dict[str, bool]) -> None:
    exact = trained_like(small(**settings))
    frames = torch.randn(40, 17, 2)
    if settings:
        frames[::3, 5] = MISSING
        frames[7] = MISSING
    index = (torch.arange(40).unsqueeze(1) + torch.arange(27) - 13).clamp(0, 39)
    expected = exact(frames[index]).centre
    for lifter in (exact, exact.for_inference()):
        shared = lifter.aggregate(lifter.embed(frames)[index]).centre
        torch.testing.assert_close(shared, expected, atol=SHARED, rtol=0)


@torch.no_grad()
def test_inference_form_is_a_copy() -> None:
    lifter = trained_like(small())
    fused = lifter.for_inference()
    windows = torch.randn(1, 27, 17, 2)
    before = fused(windows).centre
    for parameter in lifter.parameters():
        parameter.zero_()
    assert torch.equal(fused(windows).centre, before)
    assert fused.for_inference() is fused
    assert fused.config == lifter.config
    assert not any(parameter.requires_grad for parameter in fused.parameters())


@torch.no_grad()
def test_token_replaces_missing_joints() -> None:
    lifter = trained_like(small(mask_token=True))
    token = lifter.embedding.mask_token
    assert token is not None
    windows = torch.randn(2, 27, 17, 2)
    filled, holes = windows.clone(), windows.clone()
    filled[:, 4, 6] = token
    holes[:, 4, 6, 1] = MISSING  # one coordinate is enough
    for form in (lifter, lifter.for_inference()):
        assert torch.equal(form(holes).centre, form(filled).centre)
        assert not torch.equal(form(holes).centre, form(windows).centre)


def test_official_network_has_no_token() -> None:
    assert STMO(small()).embedding.mask_token is None
    assert not any("mask_token" in name for name in STMO(small()).state_dict())


# Costs: table 6 of the paper, with the digits that the official code prints

OFFICIAL_COSTS = [
    # frames, layers, counted and all parameters (M), counted and full operations (M)
    (27, 3, 4.648, 4.683, 163.3, 166.0),
    (81, 3, 5.436, 5.527, 492.9, 519.5),
    (243, 3, 6.224, 6.482, 1481.9, 1727.8),
    (243, 4, 6.750, 7.009, 1736.7, 2043.1),
]


@pytest.mark.parametrize(("frames", "layers", "counted", "every", "counted_flops", "full_flops"), OFFICIAL_COSTS)
def test_costs_of_the_official_networks(
    frames: int, layers: int, counted: float, every: float, counted_flops: float, full_flops: float
) -> None:
    config = STMOConfig(frames, layers=layers)
    assert cost("pstmo", config).parameters.counted / 1e6 == pytest.approx(counted, abs=5e-4)
    assert cost("pstmo", config).flops.counted / 1e6 == pytest.approx(counted_flops, abs=0.05)
    assert cost("pstmo", config).flops.full / 1e6 == pytest.approx(full_flops, abs=0.05)

    official_total = official_parameters(config)
    assert official_total / 1e6 == pytest.approx(every, abs=5e-4)
    # Ours omits two norms that are never called, and the rows of two position tensors that are sliced away.
    unused_rows = (frames - frames // 3) + (frames - frames // 9)
    assert official_total - cost("pstmo", config).parameters.full == config.channels * (2 * 2 + unused_rows)


def test_costs_include_our_additions() -> None:
    official, ours = small(), small(mask_token=True, person_centred=True)
    more = cost("pstmo", ours).parameters.full - cost("pstmo", official).parameters.full
    assert more == 2 + 4 * 64  # the token, and four more features into 2 * 32 channels
    assert cost("pstmo", ours).flops.full - cost("pstmo", official).flops.full == 2 * 27 * 4 * 64
