"""Person-centring."""

import pytest
import torch

from poselift.lifters.frame_features import person_centre
from tests.unit.lifters.pstmo.small import MISSING, small, trained_like


def test_person_centre_removes_mean_and_size() -> None:
    person = torch.randn(5, 17, 2, dtype=torch.float64)
    centred, context = person_centre(person)
    torch.testing.assert_close(centred.mean(dim=-2), torch.zeros(5, 2, dtype=torch.float64))
    torch.testing.assert_close(centred.square().sum(-1).mean(-1), torch.ones(5, dtype=torch.float64))
    moved, moved_context = person_centre(person * 3 + torch.tensor([0.5, -2.0]))
    torch.testing.assert_close(moved, centred)
    torch.testing.assert_close(moved_context[:, 1, 0] - context[:, 1, 0], torch.full((5,), 3.0).double().log())
    torch.testing.assert_close(moved_context[:, 0], context[:, 0] * 3 + torch.tensor([0.5, -2.0]))


def test_person_centre_ignores_missing_joints() -> None:
    frame = torch.randn(17, 2)
    frame[[2, 9]] = MISSING
    visible = [joint for joint in range(17) if joint not in (2, 9)]
    centred, context = person_centre(frame)
    alone, alone_context = person_centre(frame[visible])
    torch.testing.assert_close(centred[visible], alone)
    torch.testing.assert_close(context[0], alone_context[0])
    assert context[1, 1].item() == pytest.approx(2 / 17)
    assert centred[[2, 9]].isnan().all()


def test_person_centre_of_no_joint_and_of_one_joint() -> None:
    frames = torch.full((2, 17, 2), MISSING)
    frames[1, 3] = torch.tensor([0.25, -0.5])
    centred, context = person_centre(frames)
    assert torch.equal(context[0], torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert torch.equal(context[1, 0], torch.tensor([0.25, -0.5]))
    assert context.isfinite().all()
    assert torch.equal(centred[1, 3], torch.zeros(2))
    lifter = trained_like(small(mask_token=True, person_centred=True))
    assert lifter.embed(frames).isfinite().all()
