"""The loss of MixSTE."""

import pytest
import torch

from poselift.lifters.mixste.loss import joint_weights, sequence_loss
from poselift.skeletons import skeleton


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
