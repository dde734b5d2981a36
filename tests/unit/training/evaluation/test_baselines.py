from dataclasses import replace

import torch
from poselift_training.data.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_h36m
from poselift_training.evaluation.baselines import flat_figure, mean_pose
from poselift_training.evaluation.report import Report

from tests.unit.training.evaluation.golden_artifacts import TINY_H36M


def test_baselines_are_scored_beside_the_lifter(refined_report: Report) -> None:
    by_name = {run.poses: run.total for run in refined_report.runs}
    assert list(by_name)[3:] == ["mean pose", "flat figure"]
    # Both are people, unlike what random weights give.
    assert max(by_name["mean pose"].mpjpe_mm, by_name["flat figure"].mpjpe_mm) < 300


def test_baselines_follow_their_definitions() -> None:
    training = read_h36m(TINY_H36M, "gt", TRAIN_SUBJECTS)
    people = read_h36m(TINY_H36M, "gt", TEST_SUBJECTS)
    torch.testing.assert_close(mean_pose(training, people)[5], training.joints.mean(dim=0))
    facing = replace(people, joints=people.joints * torch.tensor([1, 1, 0]), keypoints=people.joints[..., :2] / 4 + 0.3)
    torch.testing.assert_close(flat_figure(facing), facing.joints, rtol=0, atol=1e-5)
    holes = facing.keypoints.clone()
    holes[10, 3] = torch.nan
    assert flat_figure(replace(facing, keypoints=holes)).isfinite().all()
