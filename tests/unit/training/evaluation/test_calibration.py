import copy

import pytest
import torch
from poselift_training.data import Batch
from poselift_training.evaluation.calibration import calibrate, deciles, fit_log_errors

from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.skeletons import skeleton

H36M = skeleton("h36m17")


def test_each_decile_is_compared_with_the_true_errors() -> None:
    expected = torch.arange(1, 101).float()
    true = expected * torch.where(expected <= 50, 1.0, 2.0)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    tenths = deciles(expected[shuffled], true[shuffled])
    assert [tenth.joints for tenth in tenths] == [10] * 10
    assert [tenth.expected_mm for tenth in tenths] == pytest.approx([5.5 + 10 * number for number in range(10)])
    assert [tenth.ratio for tenth in tenths] == pytest.approx([1] * 5 + [0.5] * 5)
    assert tenths[9].true_mm == pytest.approx(191)


def test_all_joints_are_in_a_decile() -> None:
    tenths = deciles(torch.rand(1234), torch.rand(1234))
    assert sum(tenth.joints for tenth in tenths) == 1234


def test_fit_finds_the_line_between_expected_and_mean_true_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    expected = torch.rand(200_000, generator=generator) * 0.1 + 0.01
    mean = 1.7 * expected**0.8
    true = mean * -torch.rand(200_000, generator=generator).log()  # exponentially distributed about its mean
    intercept, slope = fit_log_errors(expected, true)
    assert slope == pytest.approx(0.8, abs=0.02)
    assert intercept == pytest.approx(torch.tensor(1.7).log().item(), abs=0.05)


def test_calibration_corrects_expected_errors_and_keeps_poses() -> None:
    torch.manual_seed(0)
    lifter = STMO(STMOConfig(27, channels=32, hidden=48, layers=1, expected_error=True)).eval()
    batches = [
        Batch(windows, windows, torch.randn(64, 27, 17, 3))
        for windows in (torch.randn(64, 27, 17, 2), torch.randn(64, 27, 17, 2))
    ]
    assert lifter.error_head is not None
    torch.nn.init.normal_(lifter.error_head.out.bias, -1.0, 0.3)
    before = copy.deepcopy(lifter)
    calibrate(lifter, batches, H36M)
    windows = torch.cat([batch.windows for batch in batches])
    true_joints = torch.cat([batch.joints[:, 13] for batch in batches])
    with torch.no_grad():
        poses, old = lifter(windows), before(windows)
    assert torch.equal(poses.centre, old.centre)
    errors = torch.linalg.vector_norm(poses.centre - true_joints, dim=-1)[:, 1:]  # the root has none
    intercept, slope = fit_log_errors(old.expected_error[:, 1:].flatten(), errors.flatten())
    torch.testing.assert_close(poses.expected_error, (intercept + slope * old.expected_error.log()).exp())
    assert (poses.expected_error[:, 1:].mean() / errors.mean()).item() == pytest.approx(1, abs=0.05)
    assert (old.expected_error[:, 1:].mean() / errors.mean()).item() != pytest.approx(1, abs=0.1)


def test_a_lifter_without_expected_errors_is_not_changed() -> None:
    lifter = STMO(STMOConfig(27, channels=32, hidden=48, layers=1)).eval()
    before = copy.deepcopy(lifter.state_dict())
    calibrate(lifter, iter(()), H36M)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lifter.state_dict().items())
