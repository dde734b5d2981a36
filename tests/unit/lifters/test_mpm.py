"""MPM's config, what training hides, and its official checkpoints."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.mpm.hidden_joints import draw_tubes, joint_tubes
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.mpm.pretraining import MaskedPoseSpace
from poselift.lifters.official.mpm import export_mpm, export_pose_space, import_mpm, import_pose_space
from poselift.lifters.systems import build, cost
from poselift.skeletons import skeleton
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights
from tests.unit.lifters.hostile_files import bombs

LIFT, PRETRAIN = "mpm_lift_c64_h128_n27_l3_j17", "mpm_pretrain_c64_h128_n27_l3_j17"


def small(**settings: Any) -> MPMConfig:
    return MPMConfig(9, channels=16, hidden=24, layers=2, **settings)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden(LIFT))


# Config


def test_sizes_no_network_can_have() -> None:
    for field, value in (("frame_dropout", 1.0), ("frame_dropout", "much"), ("frames", 28), ("dropout", 2)):
        with pytest.raises(InvalidArtifact) as refused:
            build("mpm", {"frames": 27, field: value})
        assert refused.value.path == f"network.{field}"
    with pytest.raises(InvalidArtifact, match="same joints"):
        PoseSpace(small(joints_out=16), 1)


def test_the_per_frame_network_has_its_own_dropout() -> None:
    lifter = MPM(small(dropout=0.05))
    assert lifter.embedding.encoder.dropout.p == 0.2
    assert {part.p for part in lifter.temporal.modules() if isinstance(part, torch.nn.Dropout)} == {0.05}
    assert {part.p for part in PoseSpace(small(), 1).modules() if isinstance(part, torch.nn.Dropout)} == {0.1}


@pytest.mark.parametrize(
    ("frames", "layers", "joints", "every", "counted", "counted_flops", "full_flops"),
    [
        (27, 3, 17, 4.683, 4.648, 163.3, 166.0),
        (243, 3, 16, 6.480, 6.222, 1481.0, 1726.9),
        (243, 4, 17, 7.009, 6.750, 1736.7, 2043.1),
    ],
)
def test_costs_of_the_official_networks(
    frames: int, layers: int, joints: int, every: float, counted: float, counted_flops: float, full_flops: float
) -> None:
    config = MPMConfig(frames, layers=layers, joints_in=joints, joints_out=joints)
    parameters, flops = cost("mpm", config)
    assert parameters.counted / 1e6 == pytest.approx(counted, abs=5e-4)
    assert flops.counted / 1e6 == pytest.approx(counted_flops, abs=0.05)
    assert flops.full / 1e6 == pytest.approx(full_flops, abs=0.05)
    with torch.device("meta"):
        official = export_mpm(MPM(config))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    total = sum(value.numel() for name, value in official.items() if not name.endswith(buffers))
    assert total / 1e6 == pytest.approx(every, abs=5e-4)


@pytest.mark.parametrize(
    ("frames", "layers", "decoder_layers", "millions"),
    [(243, 4, 1, 4.017), (27, 3, 2, 4.434)],
    ids=["pretraining", "completion"],
)
def test_parameters_of_the_masked_networks(frames: int, layers: int, decoder_layers: int, millions: float) -> None:
    with torch.device("meta"):
        official = export_pose_space(PoseSpace(MPMConfig(frames, layers=layers), decoder_layers))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    total = sum(value.numel() for name, value in official.items() if not name.endswith(buffers))
    assert total / 1e6 == pytest.approx(millions, abs=5e-4)


# What is hidden


@pytest.mark.parametrize("name", ["h36m17", "h36m16", "mpi17"])
def test_tubes_hold_the_limbs_they_say(name: str) -> None:
    names = skeleton(name).joint_names
    right_leg, right_arm, left_arm, left_leg = ({names[i] for i in tube} for tube in joint_tubes(skeleton(name)).sets)
    assert right_leg == {"right_hip", "right_knee", "right_ankle"}
    assert right_arm == {"right_shoulder", "right_elbow", "right_wrist"}
    assert left_arm == {"left_shoulder", "left_elbow", "left_wrist"}
    assert left_leg == {"left_hip", "left_knee", "left_ankle"}


def test_every_set_and_random_joints_are_equally_likely() -> None:
    tubes = joint_tubes(skeleton("h36m17"))
    hidden = draw_tubes(tubes, 5000, 17, torch.Generator().manual_seed(1)).squeeze(1)
    assert (hidden.sum(dim=1) == 3).all()
    for joints in tubes.sets:
        share = hidden[:, list(joints)].all(dim=1).float().mean().item()
        assert share == pytest.approx(0.2, abs=0.03)
    assert hidden[:, 0].float().mean().item() == pytest.approx(0.2 * 3 / 17, abs=0.01)  # the root, at random only
    again = draw_tubes(tubes, 5000, 17, torch.Generator().manual_seed(1)).squeeze(1)
    assert torch.equal(hidden, again)


@torch.no_grad()
def test_hidden_input_leaves_no_trace() -> None:
    torch.manual_seed(1)
    model = PoseSpace(small(), 2).eval()
    hidden_joints = torch.rand(3, 1, 17) < 0.3
    hidden_frames = torch.tensor([0, 1, 1, 0, 0, 1, 0, 0, 1]).bool()
    for dimensions in (2, 3):
        windows = torch.randn(3, 9, 17, dimensions)
        changed = windows.masked_fill(hidden_joints.unsqueeze(-1), torch.nan)
        changed[:, hidden_frames] = 7.0
        rebuilt = model(windows, hidden_joints, hidden_frames, lift=True)
        torch.testing.assert_close(model(changed, None, hidden_frames, lift=True), rebuilt)
        assert rebuilt.joints.shape == (3, 9, 17, 3)


@pytest.mark.parametrize("left", [1, 8], ids=["one visible", "one hidden"])
@torch.no_grad()
def test_a_single_visible_or_hidden_frame(left: int) -> None:
    """The official code crashes on both."""
    hidden = torch.arange(9) >= left
    rebuilt = PoseSpace(small(), 1).eval()(torch.randn(2, 9, 17, 2), None, hidden)
    assert rebuilt.keypoints.shape == (2, 9, 17, 2)
    assert rebuilt.keypoints.isfinite().all()


@torch.no_grad()
def test_person_centred_keypoints_keep_nothing_of_the_picture_but_its_context() -> None:
    torch.manual_seed(1)
    model = PoseSpace(small(person_centred=True), 1).eval()
    windows = torch.randn(2, 9, 17, 2)
    hidden = torch.rand(9, 17) < 0.3
    changed = windows.masked_fill(hidden.unsqueeze(-1), 7.0)  # neither the mean nor the size may know what is hidden
    torch.testing.assert_close(model(changed, hidden).keypoints, model(windows, hidden).keypoints)
    torch.testing.assert_close(model.target(3 * windows + 1), model.target(windows))
    lifter = MPM(model.config)
    assert not lifter.load_state_dict(model.lifter_state(), strict=False).unexpected_keys
    with pytest.raises(InvalidCheckpoint, match="person-centred"):
        export_pose_space(model)


def pretraining_loss(model: MaskedPoseSpace, lift: float, **changes: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    given = {
        "windows": torch.randn(6, 9, 17, 2, generator=generator),
        "clean": torch.randn(6, 9, 17, 2, generator=generator),
        "joints": torch.randn(6, 9, 17, 3, generator=generator),
        **changes,
    }
    masks = model.draw_masks(0.6, 5, torch.Generator().manual_seed(5))
    return model.loss(given["windows"], given["clean"], given["joints"], masks, lift)


def test_pretraining_takes_keypoints_and_poses_that_do_not_belong_together() -> None:
    torch.manual_seed(1)
    model = MaskedPoseSpace(small(dropout=0.0))
    zeros = torch.zeros(6, 9, 17, 3)
    zeros[3:] = torch.randn(3, 9, 17, 3)
    other = torch.randn(6, 9, 17, 2)
    other[:3] = torch.randn(6, 9, 17, 2, generator=torch.Generator().manual_seed(4))[:3]
    # Keypoints of the first half, poses of the second one, and nothing else; what lifting adds, the first half's poses.
    plain = pretraining_loss(model, 0.0, joints=zeros)
    assert pretraining_loss(model, 0.0, joints=zeros, windows=other) == plain
    moved = zeros.clone()
    moved[:3] = 1.0
    assert pretraining_loss(model, 0.0, joints=moved) == plain
    assert pretraining_loss(model, 3.0, joints=moved) > pretraining_loss(model, 3.0, joints=zeros) > plain


def test_pretraining_counts_as_the_paper_does() -> None:
    torch.manual_seed(1)
    model = MaskedPoseSpace(small(dropout=0.0)).eval()
    masks = model.draw_masks(0.6, 5, torch.Generator().manual_seed(5))
    assert [mask.sum().item() for mask in masks] == [5, 9 * 5, 5, 9 * 5]
    assert not torch.equal(masks[1], masks[3])
    windows, joints = torch.randn(4, 9, 17, 2), torch.randn(4, 9, 17, 3)
    of_keypoints = (model(windows[:2], masks[1], masks[0]).keypoints - windows[:2]).norm(dim=-1).mean()
    of_joints = (model(joints[2:], masks[3], masks[2]).joints - joints[2:]).norm(dim=-1).mean()
    loss = model.loss(windows, windows, joints, masks, 0.0)
    torch.testing.assert_close(loss, 5 * of_keypoints + 2 * of_joints)


@pytest.mark.parametrize("mask_token", [False, True])
def test_lifter_takes_the_token_only_if_it_wants_one(mask_token: bool) -> None:
    config = small(mask_token=mask_token)
    state = PoseSpace(config, 1).lifter_state()
    assert ("embedding.mask_token" in state) == mask_token
    assert not MPM(config).load_state_dict(state, strict=False).unexpected_keys


# Official checkpoints


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
def test_what_has_no_official_form_is_not_exported(setting: str) -> None:
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
