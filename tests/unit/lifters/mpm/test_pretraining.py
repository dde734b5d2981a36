"""Masked pretraining of MPM."""

import pytest
import torch
from torch import Tensor

from poselift.lifters.mpm.network import MPM
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.mpm.pretraining import MaskedPoseSpace
from tests.unit.lifters.mpm.small import small


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


def test_pretraining_uses_unpaired_keypoints_and_poses() -> None:
    torch.manual_seed(1)
    model = MaskedPoseSpace(small(dropout=0.0))
    zeros = torch.zeros(6, 9, 17, 3)
    zeros[3:] = torch.randn(3, 9, 17, 3)
    other = torch.randn(6, 9, 17, 2)
    other[:3] = torch.randn(6, 9, 17, 2, generator=torch.Generator().manual_seed(4))[:3]
    # Only keypoints of the first half and poses of the second; lifting adds the poses of the first half.
    plain = pretraining_loss(model, 0.0, joints=zeros)
    assert pretraining_loss(model, 0.0, joints=zeros, windows=other) == plain
    moved = zeros.clone()
    moved[:3] = 1.0
    assert pretraining_loss(model, 0.0, joints=moved) == plain
    assert pretraining_loss(model, 3.0, joints=moved) > pretraining_loss(model, 3.0, joints=zeros) > plain


def test_pretraining_has_the_papers_weights() -> None:
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
def test_the_encoder_state_has_the_token_only_with_mask_token(mask_token: bool) -> None:
    config = small(mask_token=mask_token)
    state = PoseSpace(config, 1).lifter_state()
    assert ("embedding.mask_token" in state) == mask_token
    assert not MPM(config).load_state_dict(state, strict=False).unexpected_keys
