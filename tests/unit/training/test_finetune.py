"""The objective of stage II, for every system."""

from pathlib import Path

import pytest
import torch
from poselift_training.finetune import Lifting, bone_length_loss, finetune
from poselift_training.recipe import SHIPPED, load_recipe

from poselift.errors import InvalidRecipe
from poselift.lifters.systems import SYSTEMS
from poselift.skeletons import skeleton
from tests.unit.training.objectives import batch, check_gradients, recipe


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_a_lifter_learns_with_all_that_may_learn(system: str) -> None:
    torch.manual_seed(1)
    objective = Lifting(recipe("finetune", system))
    check_gradients(objective, objective(objective.inputs(batch(), 7), batch().joints))


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.loss is not None])
def test_the_lengths_of_bones_are_learnt_where_a_recipe_says_so(system: str) -> None:
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


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_what_is_given_depends_on_the_seed_alone(system: str) -> None:
    objective = Lifting(recipe("finetune", system))
    torch.testing.assert_close(objective.inputs(batch(), 7), objective.inputs(batch(), 7), equal_nan=True)


def test_a_network_that_completes_is_given_poses_without_three_of_their_joints() -> None:
    objective = Lifting(recipe("finetune", "mpm-completion"))
    given, joints = objective.inputs(batch(), 7), batch().joints
    missing = given.isnan().all(dim=-1)
    assert (missing.sum(dim=-1) == 3).all()
    assert (missing == missing[:, :1]).all()
    torch.testing.assert_close(torch.where(given.isnan(), joints, given), joints, rtol=0, atol=0)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_recipe_whose_start_is_missing_says_what_to_do(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["publish.repository=elsewhere", "accelerator=cpu"]
    with pytest.raises(InvalidRecipe, match=f"27/{version - 1}, which does not exist: train or restore") as refusal:
        finetune(load_recipe(Path(f"pstmo-tiny-27-{version}"), options))
    assert refusal.value.path == "init_from"


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_recipe_that_starts_from_an_older_version_says_how_to_get_it(version: int) -> None:
    text = (SHIPPED / f"pstmo-tiny-27-{version}.toml").read_text()
    assert f'git checkout "$(git rev-list -n 1 HEAD -- models/pstmo-tiny-27/{version - 1})^"' in text
