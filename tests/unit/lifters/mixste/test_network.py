"""MixSTE's lifter: sizes, costs, and windows that share frames."""

import dataclasses

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.mixste.network import MixedBlock, MixSTE, MixSTEConfig
from poselift.lifters.systems import build, cost
from tests.unit.lifters.mixste.small import small, trained_like

SHARED = 2e-5
"""Tolerance for rounding, which differs between batch sizes."""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames", 0),
        ("frames", "27"),
        ("layers", True),
        ("channels", 30),
        ("drop_path", 1.0),
        ("drop_path", "much"),
        ("mask_token", 1),
        ("person_centred", "yes"),
    ],
)
def test_impossible_sizes_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArtifact) as refused:
        build("mixste", {"frames": 27, field: value})
    assert refused.value.path == f"network.{field}"


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InvalidArtifact, match=r"MixSTE .*'dropout'"):
        build("mixste", {"frames": 27, "dropout": 0.1})
    with pytest.raises(InvalidArtifact, match="'frames'"):
        build("mixste", {})


def test_build_returns_the_network_of_the_manifest() -> None:
    config = small(mask_token=True)
    lifter = build("mixste", dataclasses.asdict(config))
    assert lifter.config == config
    assert lifter.receptive_field == 9


@pytest.mark.parametrize(
    ("frames", "every", "counted_gflops", "full_gflops"),
    [(27, 33.673, 30.90, 31.14), (81, 33.701, 92.69, 94.63), (243, 33.784, 278.08, 294.85)],
)
def test_costs_of_the_official_networks(frames: int, every: float, counted_gflops: float, full_gflops: float) -> None:
    parameters, flops = cost("mixste", MixSTEConfig(frames))
    assert parameters.full / 1e6 == pytest.approx(every, abs=5e-4)
    assert parameters.counted / 1e6 == pytest.approx(33.651, abs=5e-4)
    assert flops.counted / 1e9 == pytest.approx(counted_gflops, abs=0.005)
    assert flops.full / 1e9 == pytest.approx(full_gflops, abs=0.005)


@pytest.mark.parametrize(
    "settings",
    [{}, {"mask_token": True}, {"mask_token": True, "person_centred": True}],
    ids=["official", "with token", "person-centred"],
)
@torch.no_grad()
def test_windows_may_share_embedded_frames(settings: dict[str, bool]) -> None:
    lifter = trained_like(small(**settings))
    frames = torch.randn(20, 17, 2)
    if settings:
        frames[::3, 5] = torch.nan
    index = (torch.arange(20).unsqueeze(1) + torch.arange(9) - 4).clamp(0, 19)
    expected = lifter(frames[index]).frames
    assert expected is not None
    assert expected.shape == (20, 9, 17, 3)
    assert expected.isfinite().all()
    shared = lifter.aggregate(lifter.embed(frames)[index]).frames
    torch.testing.assert_close(shared, expected, atol=SHARED, rtol=0)


@torch.no_grad()
def test_token_replaces_missing_joints() -> None:
    lifter = trained_like(small(mask_token=True))
    assert lifter.mask_token is not None
    windows = torch.randn(2, 9, 17, 2)
    filled, holes = windows.clone(), windows.clone()
    filled[:, 4, 6] = lifter.mask_token
    holes[:, 4, 6, 1] = torch.nan  # one coordinate is enough
    assert torch.equal(lifter(holes).frames, lifter(filled).frames)
    assert not torch.equal(lifter(holes).frames, lifter(windows).frames)


@torch.no_grad()
def test_inference_form_is_a_copy() -> None:
    lifter = trained_like(small()).train()
    copy = lifter.for_inference()
    windows = torch.randn(1, 9, 17, 2)
    before = copy(windows).frames
    for parameter in lifter.parameters():
        parameter.zero_()
    assert torch.equal(copy(windows).frames, before)
    assert not copy.training
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_training_drops_whole_rows_of_the_deeper_blocks() -> None:
    torch.manual_seed(1)
    block = MixedBlock(16, 16, heads=2, drop_path=0.5).train()
    x = torch.randn(200, 5, 16)
    untouched = (block(x) == x).flatten(1).all(dim=1).float().mean().item()
    assert untouched == pytest.approx(0.25, abs=0.1)  # neither branch kept
    rates = [part.drop_path for part in MixSTE(small(drop_path=0.2)).modules() if isinstance(part, MixedBlock)]
    assert rates == pytest.approx([0.0, 0.2, 0.0, 0.2])
    kept = torch.cat([block(row[None]) for row in x]).mean(dim=0)
    torch.testing.assert_close(kept.mean(), block.eval()(x).mean(), atol=0.05, rtol=0)
