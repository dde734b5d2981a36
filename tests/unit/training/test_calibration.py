import pytest
import torch

from training.calibration import deciles


def test_each_tenth_is_compared_with_the_truth() -> None:
    expected = torch.arange(1, 101).float()
    true = expected * torch.where(expected <= 50, 1.0, 2.0)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    tenths = deciles(expected[shuffled], true[shuffled])
    assert [tenth.joints for tenth in tenths] == [10] * 10
    assert [tenth.expected_mm for tenth in tenths] == pytest.approx([5.5 + 10 * number for number in range(10)])
    assert [tenth.ratio for tenth in tenths] == pytest.approx([1] * 5 + [0.5] * 5)
    assert tenths[9].true_mm == pytest.approx(191)


def test_all_joints_are_in_a_tenth() -> None:
    tenths = deciles(torch.rand(1234), torch.rand(1234))
    assert sum(tenth.joints for tenth in tenths) == 1234
