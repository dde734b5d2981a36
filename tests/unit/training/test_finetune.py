"""The objective of stage II, for every system."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from poselift_training.data import Batch
from poselift_training.evaluation.metrics import mpjpe
from poselift_training.finetune import (
    Lifting,
    bone_length_loss,
    finetune,
    merge_weights,
    validation_error_mm,
    velocity_loss,
)
from poselift_training.recipe import SHIPPED, Merge, load_recipe
from poselift_training.recipe_data import TrainingData

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.errors import InvalidRecipe
from poselift.lifters.systems import SYSTEMS
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


def test_weights_are_merged_with_those_of_an_artifact(tmp_path: Path) -> None:
    torch.manual_seed(1)
    earlier, lifter = (Lifting(recipe("finetune", "pstmo-sequence")).lifter for _ in range(2))
    draft = Manifest(
        name="earlier",
        system="pstmo-sequence",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
    )
    publish(tmp_path, draft, earlier)
    before, trained = (copy.deepcopy(cast(torch.nn.Module, part).state_dict()) for part in (earlier, lifter))
    merge_weights(lifter, Merge(str(tmp_path / "earlier" / "1"), 0.25), SYSTEMS["pstmo-sequence"])
    for name, tensor in cast(torch.nn.Module, lifter).state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.25 * before[name] + 0.75 * trained[name])
        else:
            assert torch.equal(tensor, trained[name])


def test_steps_from_frame_to_frame_are_learnt_where_a_recipe_says_so() -> None:
    plain, weighed = (Lifting(recipe("finetune", "pstmo-sequence", f"velocity_weight={weight}")) for weight in (0, 2))
    weighed.load_state_dict(plain.state_dict())
    given, joints = plain.inputs(batch(), 7), batch().joints
    poses = plain.lifter(given)
    extra = 2 * velocity_loss(poses.answer, joints)
    assert extra > 0
    torch.testing.assert_close(weighed(given, joints), plain(given, joints) + extra)
    check_gradients(weighed, weighed(given, joints))


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


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_recipe_whose_start_is_missing_says_what_to_do(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["publish.repository=elsewhere", "accelerator=cpu"]
    with pytest.raises(InvalidRecipe, match=f"27/{version - 1}, which does not exist: train or restore") as refusal:
        finetune(load_recipe(Path(f"pstmo-tiny-27-{version}"), options))
    assert refusal.value.path == "init_from"


def test_a_recipe_without_its_first_stage_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidRecipe, match="make it with `poselift pretrain pstmo-tiny-27-pretrain`, or set 'init_from'"
    ):
        finetune(load_recipe(Path("pstmo-tiny-27"), ["publish.repository=elsewhere", "accelerator=cpu"]))
    with pytest.raises(InvalidRecipe, match="make it with `poselift finetune pstmo-sequence-27`"):
        finetune(load_recipe(Path("pstmo-tiny-27-5"), ["publish.repository=elsewhere", "accelerator=cpu"]))


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_recipe_that_starts_from_an_older_version_says_how_to_get_it(version: int) -> None:
    text = (SHIPPED / f"pstmo-tiny-27-{version}.toml").read_text()
    assert f'git checkout "$(git rev-list -n 1 HEAD -- models/pstmo-tiny-27/{version - 1})^"' in text


@dataclass(frozen=True)
class OneBatch:
    only: Batch
    steps_per_epoch: int = 1

    def batch(self, step: int) -> Batch:
        return self.only


def test_the_root_of_the_skeleton_is_set_to_zero() -> None:
    """A joint that happens to lie as still as the root is scored all the same."""
    joints = torch.zeros(2, 9, 17, 3)
    joints[:, :, 1:] = 1.0
    joints[:, :, 0] = 0.5
    source = OneBatch(Batch(torch.zeros(2, 9, 17, 2), torch.zeros(2, 9, 17, 2), joints))
    data = TrainingData(source, source, 50.0, 1.0)
    objective = Lifting(load_recipe(Path("smoke"))).eval()
    objective.skeleton = replace(objective.skeleton, root=16)
    lifter = objective.lifter
    with torch.no_grad():
        centre = lifter(source.batch(0).windows).centre
        assert centre is not None
        centre[:, 16] = 0
        expected = 1000 * mpjpe(centre, joints[:, 4])
        assert validation_error_mm(objective, data, 1) == pytest.approx(float(expected), rel=1e-5)
