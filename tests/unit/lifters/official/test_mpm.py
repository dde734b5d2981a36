"""Official MPM checkpoints."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from poselift.errors import InvalidCheckpoint
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.official.mpm import export_mpm, export_pose_space, import_mpm, import_pose_space
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights
from tests.unit.lifters.hostile_files import bombs
from tests.unit.lifters.mpm.small import small

LIFT, PRETRAIN = "mpm_lift_c64_h128_n27_l3_j17", "mpm_pretrain_c64_h128_n27_l3_j17"


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden(LIFT))


def refusal(source: dict[str, Tensor] | Path) -> str:
    with pytest.raises(InvalidCheckpoint) as refused:
        import_mpm(source)
    message = refused.value.message
    assert message.endswith(".")
    assert "\n" not in message
    return message


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_with_and_without_prefix(weights: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}{name}": value for name, value in weights.items()}, tmp_path / "a.pth")
    lifter = import_mpm(tmp_path / "a.pth")
    assert lifter.config == MPMConfig(27, channels=64, hidden=128, layers=3)
    assert not lifter.training
    windows = torch.randn(2, 27, 17, 2)
    assert torch.equal(lifter(windows).centre, import_mpm(weights)(windows).centre)


def test_round_trips() -> None:
    lifter = MPM(small(joints_in=16, joints_out=16))
    back = import_mpm(export_mpm(lifter))
    assert back.config == MPMConfig(9, 16, 24, 2, joints_in=16, joints_out=16)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in lifter.state_dict().items())
    model = PoseSpace(small(), 2)
    state = import_pose_space(export_pose_space(model)).state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("setting", ["mask_token", "person_centred"])
def test_settings_without_an_official_form_are_not_exported(setting: str) -> None:
    with pytest.raises(InvalidCheckpoint, match="official lifter"):
        export_mpm(MPM(small(**{setting: True})))


def test_tensors_that_do_not_fit_are_named(weights: dict[str, Tensor]) -> None:
    assert "unknown fcn.extra" in refusal(weights | {"fcn.extra": torch.zeros(1)})
    assert "fcn_1.1.weight [48, 64, 1]" in refusal(weights | {"fcn_1.1.weight": torch.zeros(48, 64, 1)})
    assert "28" in refusal(weights | {"shared_layers_temporal.pos_embedding": torch.zeros(1, 28, 64)})
    assert "lacks the tensor fcn.1.weight" in refusal(official_weights(golden(PRETRAIN)))
    assert "lacks" in refusal(official_weights(golden("pstmo_c64_h128_n27_l3")))
    with pytest.raises(InvalidCheckpoint, match=r"lacks the tensor fcn_dec3d\.1\.weight"):
        import_pose_space(weights)
    masked = official_weights(golden(PRETRAIN))
    with pytest.raises(InvalidCheckpoint, match="same joints"):
        import_pose_space(masked | {"fcn_dec3d.1.weight": torch.zeros(48, 64, 1)})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(weights: dict[str, Tensor], tmp_path: Path, share: float) -> None:
    file = tmp_path / "finetuned.pth"
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
