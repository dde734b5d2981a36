"""The joints that training for completion hides."""

import pytest
import torch

from poselift.lifters.mpm.hidden_joints import draw_tubes, joint_tubes
from poselift.skeletons import skeleton


@pytest.mark.parametrize("name", ["h36m17", "h36m16", "mpi17"])
def test_sets_hold_the_joints_of_their_limbs(name: str) -> None:
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
