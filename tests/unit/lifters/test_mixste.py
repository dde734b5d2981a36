"""MixSTE's config, its form for windows that share frames, and its official checkpoints."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.mixste.loss import joint_weights, sequence_loss
from poselift.lifters.mixste.network import MixedBlock, MixSTE, MixSTEConfig
from poselift.lifters.official.mixste import export_mixste, import_mixste
from poselift.lifters.systems import build, cost
from poselift.skeletons import skeleton
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights
from tests.unit.lifters.hostile_files import bombs

SHARED = 2e-5
"""Frames embedded in another batch round otherwise."""


def small(frames: int = 9, **settings: Any) -> MixSTEConfig:
    return MixSTEConfig(frames, channels=32, hidden=48, layers=2, **settings)


def trained_like(config: MixSTEConfig) -> MixSTE:
    """Positions start at zero, and a fresh network would not notice if they were left out."""
    torch.manual_seed(1)
    lifter = MixSTE(config)
    for position in (lifter.joint_position, lifter.frame_position):
        torch.nn.init.normal_(position)
    return lifter.eval()


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden("mixste_c64_n27_d3"))


# Config


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
def test_sizes_no_network_can_have(field: str, value: object) -> None:
    with pytest.raises(InvalidArtifact) as refused:
        build("mixste", {"frames": 27, field: value})
    assert refused.value.path == f"network.{field}"


def test_settings_no_network_has() -> None:
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


# The network


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
def test_token_stands_in_for_missing_joints() -> None:
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


def test_joints_of_other_skeletons_are_weighted_by_name() -> None:
    mpi17 = skeleton("mpi17")
    weights = dict(zip(mpi17.joint_names, joint_weights(mpi17), strict=True))
    assert weights["left_wrist"] == weights["right_elbow"] == 4
    assert (weights["left_knee"], weights["head"], weights["pelvis"]) == (2.5, 1.5, 1)


def test_terms_of_the_loss() -> None:
    target = torch.zeros(1, 3, 17, 3)
    predicted = target.clone()
    predicted[0, 1, 4] = torch.tensor([3.0, 0.0, 4.0])  # away and back again
    loss = sequence_loss(predicted, target, torch.full((17,), 2.0))
    assert loss.position.item() == pytest.approx(2 * 5 / (3 * 17))
    assert loss.smoothness.item() == pytest.approx(2 * 2 * 25 / (2 * 17 * 3))
    assert loss.velocity.item() == pytest.approx(2 * 5 / (2 * 17))
    assert sequence_loss(predicted, predicted, torch.ones(17)).velocity.item() == 0


# Official checkpoints


def as_saved(weights: dict[str, Tensor], *, prefixed: bool = True) -> dict[str, object]:
    """What the official training writes, its generator included."""
    name = "module.{}" if prefixed else "{}"
    return {
        "epoch": 20,
        "lr": 3.9e-5,
        "random_state": np.random.RandomState(1234),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}, "param_groups": [{"params": [0]}]},
        "model_pos": {name.format(key): value for key, value in weights.items()},
    }


def refusal(source: dict[str, Any] | Path) -> str:
    with pytest.raises(InvalidCheckpoint) as refused:
        import_mixste(source)
    message = refused.value.message
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("prefixed", [False, True], ids=["plain", "module."])
@torch.no_grad()
def test_training_files_are_read_without_their_generator(
    weights: dict[str, Tensor], tmp_path: Path, prefixed: bool
) -> None:
    file = tmp_path / "best_epoch.bin"
    torch.save(as_saved(weights, prefixed=prefixed), file)
    lifter = import_mixste(file)
    assert lifter.config == MixSTEConfig(27, channels=64, hidden=128, layers=3)
    assert not lifter.training
    windows = torch.randn(1, 27, 17, 2)
    assert torch.equal(lifter(windows).frames, import_mixste(weights)(windows).frames)


class OldGenerator:
    """Pickles as the generators of NumPy before 1.24 did: made from a name, then given a state."""

    def __reduce__(self) -> tuple[object, ...]:
        constructor, *_ = np.random.RandomState(1).__reduce__()
        return constructor, ("MT19937",), np.random.RandomState(1).get_state(legacy=False)


def test_generators_of_old_numpy_are_skipped_too(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "epoch_20.bin"
    old = as_saved(weights) | {"random_state": OldGenerator()}
    torch.save(old, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    assert b"cnumpy._core.multiarray\n" in content
    file.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert import_mixste(file).config.frames == 27


def test_a_round_trip() -> None:
    lifter = trained_like(small(27, joints=15))
    back = import_mixste(export_mixste(lifter))
    assert back.config == lifter.config
    ours, theirs = lifter.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_has_no_official_form_is_not_exported() -> None:
    with pytest.raises(InvalidCheckpoint, match="official network"):
        export_mixste(MixSTE(small(mask_token=True)))


def test_tensors_that_do_not_fit_are_named(weights: dict[str, Tensor]) -> None:
    assert "unknown STEblocks.extra" in refusal({"model_pos": weights | {"STEblocks.extra": torch.zeros(1)}})
    assert "head.1.weight [3, 63]" in refusal({"model_pos": weights | {"head.1.weight": torch.zeros(3, 63)}})
    assert "Spatial_pos_embed" in refusal({"model_pos": weights | {"Spatial_pos_embed": torch.zeros(())}})
    holes = {name: value for name, value in weights.items() if not name.startswith("TTEblocks")}
    assert "lacks TTEblocks.0" in refusal(holes)
    assert "more" in refusal(holes)
    assert "lacks the tensor Temporal_pos_embed" in refusal(official_weights(golden("pstmo_c64_h128_n27_l3")))
    assert "shared evenly" in refusal({"Temporal_pos_embed": torch.zeros(1, 9, 20)} | _sizes_only(weights))
    weights["head.1.bias"] = torch.tensor([0.0, float("inf"), 0.0])
    assert "not finite in head.1.bias" in refusal(weights)


def _sizes_only(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[name] for name in ("STEblocks.0.mlp.fc1.weight", "Spatial_pos_embed")}


def test_entries_that_are_no_tensors_are_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "epoch_20.bin"
    torch.save({"model_pos": weights | {"head.1.bias": np.random.RandomState(1)}}, file)
    assert "'head.1.bias' is not a tensor" in refusal(file)
    torch.save({"model_pos": 3}, file)
    assert "no named tensors" in refusal(file)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(weights: dict[str, Tensor], tmp_path: Path, share: float) -> None:
    file = tmp_path / "best_epoch.bin"
    torch.save(as_saved(weights), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert str(file) in refusal(file)


def test_hostile_pickle_runs_nothing(weights: dict[str, Tensor], tmp_path: Path) -> None:
    for entry in ("random_state", "model_pos", "optimizer"):
        trace, files = bombs(as_saved(weights), entry, tmp_path)
        for file in files:
            assert "tensors alone" in refusal(file)
        assert not trace.exists()
    pickle.loads(files[1].read_bytes())
    assert trace.exists()
