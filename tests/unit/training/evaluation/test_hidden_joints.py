import pytest
import torch
from poselift_training.data.h36m import read_h36m
from poselift_training.evaluation.hidden_joints import hidden_joint_masks

from tests.unit.training.evaluation.golden_artifacts import TINY_H36M


def test_joints_are_hidden_at_random_and_by_limbs() -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    hidden = dict(hidden_joint_masks(people))
    assert list(hidden) == ["0 %", "10 %", "20 %", "40 %", "left arm", "right arm", "left leg", "right leg"]
    for share in (0.0, 0.1, 0.2, 0.4):
        assert hidden[f"{share:.0%}".replace("%", " %")].float().mean().item() == pytest.approx(share, abs=0.02)
    assert not (hidden["10 %"] & ~hidden["20 %"]).any()
    names = people.skeleton.joint_names
    assert {names[joint] for joint in hidden["left leg"].all(dim=0).nonzero()[:, 0]} == {
        "left_hip",
        "left_knee",
        "left_ankle",
    }
    assert all(
        torch.equal(joints, hide_again)
        for joints, (_, hide_again) in zip(hidden.values(), hidden_joint_masks(people), strict=True)
    )
