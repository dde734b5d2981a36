"""Official MixSTE checkpoints."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from poselift.errors import InvalidCheckpoint
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.official.mixste import export_mixste, import_mixste
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights
from tests.unit.lifters.hostile_files import bombs
from tests.unit.lifters.mixste.small import small, trained_like


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden("mixste_c64_n27_d3"))


def as_saved(weights: dict[str, Tensor], *, prefixed: bool = True) -> dict[str, object]:
    """A file of the official training, including its generator."""
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
def test_training_checkpoints_are_read_without_their_generator(
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
    """Pickles as the generators of NumPy before 1.24: created from a name, then given a state."""

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


def test_settings_without_an_official_form_are_not_exported() -> None:
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
