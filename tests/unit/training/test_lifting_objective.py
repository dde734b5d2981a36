"""The objective of stage II, for every system."""

from typing import cast

import pytest
import torch
from poselift_training.lifting_objective import (
    Lifting,
    bone_length_loss,
    draw_live_windows,
    live_samples,
    velocity_loss,
)

from poselift.lifters.lifter import TargetLifter
from poselift.lifters.systems import SYSTEMS
from poselift.live_samples import live_distances
from poselift.skeletons import skeleton
from tests.unit.training.objectives import batch, check_gradients, recipe


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_every_trainable_weight_of_a_lifter_gets_a_gradient(system: str) -> None:
    torch.manual_seed(1)
    objective = Lifting(recipe("finetune", system))
    check_gradients(objective, objective(objective.inputs(batch(), 7), batch().joints))


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_the_bone_length_loss_is_added_with_its_weight(system: str) -> None:
    plain, weighed = (Lifting(recipe("finetune", system, f"bone_length_weight={weight}")) for weight in (0, 2))
    weighed.load_state_dict(plain.state_dict())
    given, joints = plain.inputs(batch(), 7), batch().joints
    losses = []
    for objective in (plain, weighed):
        torch.manual_seed(1)  # of the dropout
        losses.append(objective(given, joints))
    torch.manual_seed(1)
    poses = plain.lifter(given)
    target = joints if poses.centre is None else joints[:, 4]
    extra = 2 * bone_length_loss(poses.answer, target, plain.skeleton)
    assert extra > 0
    torch.testing.assert_close(losses[1], losses[0] + extra)
    check_gradients(weighed, losses[1])


def test_steps_from_frame_to_frame_are_learnt_where_a_recipe_says_so() -> None:
    plain, weighed = (Lifting(recipe("finetune", "pstmo-sequence", f"velocity_weight={weight}")) for weight in (0, 2))
    weighed.load_state_dict(plain.state_dict())
    given, joints = plain.inputs(batch(), 7), batch().joints
    poses = plain.lifter(given)
    extra = 2 * velocity_loss(poses.answer, joints)
    assert extra > 0
    torch.testing.assert_close(weighed(given, joints), plain(given, joints) + extra)
    check_gradients(weighed, weighed(given, joints))


def test_live_frames_are_learnt_as_they_are_served() -> None:
    settings = "init_from=earlier", "freeze_batch_norm=true"  # so that each window is treated alone
    weighed, plain = (Lifting(recipe("finetune", "pstmo-sequence", *settings, f"live_weight={w}")) for w in (2, 0))
    plain.load_state_dict(weighed.state_dict())
    for objective in (weighed, plain):
        objective.eval().train()
    drawn = batch()
    given = weighed.inputs(drawn, 7)
    past = torch.cat([given[:, :1].expand(-1, 10, -1, -1), given], dim=1)
    joints = torch.cat([drawn.joints[:, :1].expand(-1, 10, -1, -1), drawn.joints], dim=1)
    torch.manual_seed(3)
    loss = weighed(past, joints)
    check_gradients(weighed, loss)
    torch.manual_seed(3)
    weighed.lifter.aggregate(weighed.lifter.embed(past)[:, -9:])  # draws as the objective does
    ahead, begun = draw_live_windows(4, 9, 19, torch.device("cpu"))
    errors = []
    for window in range(4):
        target = 18 - int(ahead[window])
        places = (target + torch.from_numpy(live_distances(9)[ahead[window]])).clamp(min=int(begun[window]))
        samples = weighed.lifter.embed(past[window, places][None])
        pose = cast(TargetLifter, weighed.lifter).lift_targets(samples, ahead[[window]]).centre
        assert pose is not None
        errors.append((pose[0] - joints[window, target]).norm(dim=-1).mean())
    torch.manual_seed(3)
    torch.testing.assert_close(loss, plain(given, drawn.joints) + 2 * torch.stack(errors).mean())


def test_the_first_sample_of_a_stream_stands_for_those_before_it() -> None:
    stored = torch.arange(19.0)[None, :, None].expand(3, -1, 1)
    samples = live_samples(stored, 9, torch.tensor([0, 0, 2]), torch.tensor([0, 15, 16]))[..., 0]
    assert sorted(samples[0].tolist()) == [0, 0, 3, 7, 11, 15, 16, 17, 18]
    assert sorted(samples[1].tolist()) == [15] * 6 + [16, 17, 18]
    assert sorted(samples[2].tolist()) == [16] * 7 + [17, 18]


def test_most_live_frames_have_little_ahead_and_some_streams_have_just_begun() -> None:
    ahead, begun = draw_live_windows(20_000, 27, 55, torch.device("cpu"))
    assert (int(ahead.min()), int(ahead.max())) == (0, 13)
    assert (ahead <= 1).float().mean() == pytest.approx(0.7 + 0.3 * 2 / 14, abs=0.02)
    assert (begun > 0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert (begun <= 54 - ahead).all(), "no stream begins after its target"
    assert (begun == 54 - ahead).any()


def test_a_frozen_batch_norm_treats_each_window_alone_and_keeps_its_statistics() -> None:
    frozen = Lifting(recipe("finetune", "pstmo-sequence", "init_from=earlier", "freeze_batch_norm=true"))
    frozen.eval().train()
    before = {name: buffer.clone() for name, buffer in frozen.named_buffers()}
    windows = frozen.inputs(batch(), 7)
    together, alone = frozen.lifter(windows).answer, frozen.lifter(windows[:1]).answer
    torch.testing.assert_close(together[:1], alone)
    assert all(torch.equal(buffer, before[name]) for name, buffer in frozen.named_buffers())
    check_gradients(frozen, frozen(windows, batch().joints))


def test_a_pose_that_is_off_all_the_time_has_no_velocity_error() -> None:
    poses = torch.randn(2, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    offset = torch.tensor([0.1, 0.0, 0.0])
    assert velocity_loss(poses + offset, poses).item() == pytest.approx(0, abs=1e-6)
    jitter = poses.clone()
    jitter[:, 4] += offset
    assert velocity_loss(jitter, poses).item() == pytest.approx(0.1 * 2 / 8)


def test_the_bone_length_loss_ignores_directions() -> None:
    h36m = skeleton("h36m17")
    pose = torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(0))
    elbow, wrist = (h36m.joint_names.index(f"left_{joint}") for joint in ("elbow", "wrist"))
    bent, stretched = pose.clone(), pose.clone()
    bent[:, wrist] = 2 * pose[:, elbow] - pose[:, wrist]
    assert bone_length_loss(bent, pose, h36m).item() == pytest.approx(0, abs=1e-6)
    stretched[:, wrist] += pose[:, wrist] - pose[:, elbow]
    forearm = (pose[:, wrist] - pose[:, elbow]).norm(dim=-1).mean()
    torch.testing.assert_close(bone_length_loss(stretched, pose, h36m), forearm / 16)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_inputs_depend_only_on_the_seed(system: str) -> None:
    objective = Lifting(recipe("finetune", system))
    torch.testing.assert_close(objective.inputs(batch(), 7), objective.inputs(batch(), 7), equal_nan=True)


def test_completion_networks_get_poses_with_three_joints_hidden() -> None:
    objective = Lifting(recipe("finetune", "mpm-completion"))
    given, joints = objective.inputs(batch(), 7), batch().joints
    missing = given.isnan().all(dim=-1)
    assert (missing.sum(dim=-1) == 3).all()
    assert (missing == missing[:, :1]).all()
    torch.testing.assert_close(torch.where(given.isnan(), joints, given), joints, rtol=0, atol=0)
