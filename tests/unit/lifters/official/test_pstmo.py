"""Official P-STMO checkpoints: valid ones are read, others are refused by name."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from poselift.errors import InvalidCheckpoint
from poselift.lifters.official.pstmo import export_pstmo, import_pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights
from tests.unit.lifters.hostile_files import bombs
from tests.unit.lifters.pstmo.pretraining_checkpoint import import_pretrained


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden("pstmo_c64_h128_n27_l3"))


@pytest.fixture
def refine_weights() -> dict[str, Tensor]:
    return official_weights(golden("pstmo_refine_j17"))


def with_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in weights.items()}


def refusal(source: dict[str, Tensor] | Path, refine: dict[str, Tensor] | None = None) -> str:
    with pytest.raises(InvalidCheckpoint) as refused:
        import_pstmo(source, refine)
    message = refused.value.message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_sizes_are_read_from_the_tensors(weights: dict[str, Tensor]) -> None:
    lifter, refine = import_pstmo(weights)
    assert lifter.config == STMOConfig(frames=27, channels=64, hidden=128, layers=3, joints_in=17, joints_out=17)
    assert not lifter.training
    assert refine is None


@torch.no_grad()
@pytest.mark.parametrize("prefixed", [False, True], ids=["plain", "module."])
def test_files_with_and_without_prefix(
    weights: dict[str, Tensor], refine_weights: dict[str, Tensor], tmp_path: Path, prefixed: bool
) -> None:
    dress = with_prefix if prefixed else dict
    torch.save(dress(weights), tmp_path / "no_refine_28_4306.pth")
    torch.save(dress(refine_weights), tmp_path / "refine_6_4214.pth")
    lifter, refine = import_pstmo(tmp_path / "no_refine_28_4306.pth", str(tmp_path / "refine_6_4214.pth"))
    windows = torch.randn(2, 27, 17, 2)
    assert torch.equal(lifter(windows).centre, import_pstmo(weights)[0](windows).centre)
    assert refine is not None
    assert torch.equal(refine.widen.weight, refine_weights["post_refine.0.weight"])


@pytest.mark.parametrize("frames", [9, 81, 351])
def test_round_trip_of_other_window_lengths(frames: int) -> None:
    lifter = STMO(STMOConfig(frames, channels=16, hidden=24, layers=2, joints_in=16, joints_out=15))
    back, _ = import_pstmo(export_pstmo(lifter))
    assert back.config == lifter.config
    ours, theirs = lifter.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_export_returns_what_was_imported(weights: dict[str, Tensor]) -> None:
    exported = export_pstmo(import_pstmo(weights)[0])
    assert exported.keys() == weights.keys()
    in_use = {"pos_embedding_2": 9, "pos_embedding_3": 3}
    for name, value in exported.items():
        assert value.shape == weights[name].shape
        rows = in_use.get(name.rsplit(".", 1)[-1])
        if rows is not None:
            assert torch.equal(value[:, :rows], weights[name][:, :rows])
        elif ".model.norm." not in name:
            assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("setting", ["mask_token", "person_centred"])
def test_settings_without_an_official_form_are_not_exported(setting: str) -> None:
    lifter = STMO(STMOConfig(9, channels=16, hidden=16, layers=1, **{setting: True}))
    with pytest.raises(InvalidCheckpoint, match="official network"):
        export_pstmo(lifter)


@pytest.mark.parametrize("name", ["fcn.0.running_var", "encoder.fc_2.weight", "Transformer.model.norm.a_2"])
def test_missing_tensor(weights: dict[str, Tensor], name: str) -> None:
    del weights[name]
    assert name in refusal(weights)


def test_extra_tensor(weights: dict[str, Tensor]) -> None:
    assert "unknown Transformer.extra" in refusal(weights | {"Transformer.extra": torch.zeros(1)})


def test_many_missing_tensors_are_counted(weights: dict[str, Tensor]) -> None:
    kept = {name: value for name, value in weights.items() if not name.startswith("Transformer_reduce")}
    assert "more" in refusal(kept)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.fc_1.weight", (128, 34)),
        ("encoder.fc_2.weight", ()),
        ("Transformer.pos_embedding", (1, 28, 64)),
        ("fcn_1.1.weight", (48, 64, 1)),
    ],
)
def test_wrong_shape(weights: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> None:
    message = refusal(weights | {name: torch.zeros(shape)})
    assert name in message or "frames" in message


def test_values_that_are_not_finite(weights: dict[str, Tensor]) -> None:
    weights["fcn.1.bias"] = weights["fcn.1.bias"].index_fill(0, torch.tensor([3]), float("nan"))
    assert "fcn.1.bias" in refusal(weights)


def test_stage_one_and_stage_two_checkpoints_are_not_confused(weights: dict[str, Tensor]) -> None:
    assert "lacks" in refusal(official_weights(golden("pstmo_pretrain_c64_h128_n27_l3")))
    with pytest.raises(InvalidCheckpoint, match="lacks"):
        import_pretrained(weights)


def test_refine_that_does_not_fit(weights: dict[str, Tensor], refine_weights: dict[str, Tensor]) -> None:
    del refine_weights["post_refine.0.bias"]
    assert "post_refine.0.bias" in refusal(weights, refine_weights)
    assert "post_refine.3.weight" in refusal(weights, {"post_refine.3.bias": torch.zeros(34)})


def test_not_a_state_dict(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "training.pth"
    torch.save({"epoch": 3, "model": weights}, file)
    assert "'epoch' is not a tensor" in refusal(file)
    torch.save([torch.zeros(2)], file)
    assert "no named tensors" in refusal(file)


def test_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nothing.pth")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(weights: dict[str, Tensor], tmp_path: Path, share: float) -> None:
    file = tmp_path / "no_refine.pth"
    torch.save(weights, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert str(file) in refusal(file)


def test_hostile_pickle_runs_nothing(weights: dict[str, Tensor], tmp_path: Path) -> None:
    trace, files = bombs({**weights}, "fcn.1.bias", tmp_path)
    for file in files:
        assert "tensors alone" in refusal(file)
    assert not trace.exists()
    pickle.loads(files[1].read_bytes())
    assert trace.exists()
