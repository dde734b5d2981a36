"""The losses of P-STMO's lifter."""

import pytest
import torch

from poselift.lifters.lifter import Poses
from poselift.lifters.pstmo.losses import expected_error_loss, lifting_loss


def test_lifting_loss_is_the_sum_of_both_mean_distances() -> None:
    poses = Poses(centre=torch.zeros(1, 17, 3), frames=torch.zeros(1, 27, 17, 3))
    beside, centre = torch.zeros(1, 27, 17, 3), torch.zeros(1, 27, 17, 3)
    beside[0, 3, 4] = centre[0, 13, 4] = torch.tensor([3.0, 0.0, 4.0])
    assert lifting_loss(poses, beside).item() == pytest.approx(5 / (27 * 17))
    assert lifting_loss(poses, centre).item() == pytest.approx(5 / (27 * 17) + 5 / 17)


def test_the_best_expected_error_is_the_mean_error() -> None:
    errors = torch.tensor([0.01, 0.02, 0.09])
    losses = {expected: expected_error_loss(torch.full((3,), expected), errors) for expected in (0.035, 0.04, 0.045)}
    assert min(losses, key=lambda expected: losses[expected].item()) == 0.04
