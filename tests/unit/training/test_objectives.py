"""What every system's training has in common."""

from pathlib import Path

import pytest
import torch
from poselift_training.data import Batch
from poselift_training.finetune import Lifting, bone_length_loss
from poselift_training.pretrain import Reconstruction
from poselift_training.recipe import Recipe, load_recipe

from poselift.lifters.systems import SYSTEMS
from poselift.skeletons import skeleton


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    windows = torch.randn(4, 9, 17, 2, generator=generator)
    holes = windows.masked_fill(torch.rand(4, 9, 17, 1, generator=generator) < 0.2, torch.nan)
    return Batch(holes, windows, torch.randn(4, 9, 17, 3, generator=generator))


def recipe(stage: str, system: str, *overrides: str) -> Recipe:
    return load_recipe(Path("smoke"), [f"stage={stage}", f"system={system}", *overrides])


def check_gradients(objective: torch.nn.Module, loss: torch.Tensor) -> None:
    assert loss.shape == ()
    loss.backward()
    without = [name for name, tensor in objective.named_parameters() if tensor.requires_grad and tensor.grad is None]
    assert not without, "devices that train together would wait for these for ever"
    assert all(bool(tensor.grad.isfinite().all()) for tensor in objective.parameters() if tensor.grad is not None)


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_a_lifter_learns_with_all_that_may_learn(system: str) -> None:
    torch.manual_seed(1)
    objective = Lifting(recipe("finetune", system))
    check_gradients(objective, objective(objective.given(batch(), 7), batch().joints))


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_the_lengths_of_bones_are_learnt_where_a_recipe_says_so(system: str) -> None:
    plain, weighed = (Lifting(recipe("finetune", system, f"bone_length_weight={weight}")) for weight in (0, 2))
    weighed.load_state_dict(plain.state_dict())
    given, joints = plain.given(batch(), 7), batch().joints
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


def test_a_limb_of_the_right_length_in_the_wrong_place_costs_nothing() -> None:
    h36m = skeleton("h36m17")
    pose = torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(0))
    elbow, wrist = (h36m.joint_names.index(f"left_{joint}") for joint in ("elbow", "wrist"))
    bent, stretched = pose.clone(), pose.clone()
    bent[:, wrist] = 2 * pose[:, elbow] - pose[:, wrist]
    assert bone_length_loss(bent, pose, h36m).item() == pytest.approx(0, abs=1e-6)
    stretched[:, wrist] += pose[:, wrist] - pose[:, elbow]
    forearm = (pose[:, wrist] - pose[:, elbow]).norm(dim=-1).mean()
    torch.testing.assert_close(bone_length_loss(stretched, pose, h36m), forearm / 16)


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.masked is not None])
def test_a_masked_network_learns_with_all_that_may_learn(system: str) -> None:
    torch.manual_seed(1)
    objective = Reconstruction(recipe("pretrain", system))
    check_gradients(objective, objective(*objective.masked(recipe("pretrain", system), batch(), 3, 0)))


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_what_is_given_depends_on_the_seed_alone(system: str) -> None:
    objective = Lifting(recipe("finetune", system))
    torch.testing.assert_close(objective.given(batch(), 7), objective.given(batch(), 7), equal_nan=True)


def test_a_network_that_completes_is_given_poses_without_three_of_their_joints() -> None:
    objective = Lifting(recipe("finetune", "mpm-completion"))
    given, joints = objective.given(batch(), 7), batch().joints
    missing = given.isnan().all(dim=-1)
    assert (missing.sum(dim=-1) == 3).all()
    assert (missing == missing[:, :1]).all()
    torch.testing.assert_close(torch.where(given.isnan(), joints, given), joints, rtol=0, atol=0)
