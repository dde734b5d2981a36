import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from poselift_training.data.clips import Clip, write_clips
from poselift_training.data.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_h36m
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.metrics import auc, mpjpe, pck, pck_joints
from poselift_training.evaluation.predict import predict
from poselift_training.evaluation.report import Report, Run

from poselift.errors import InvalidDataset
from poselift.lifters.official.mpm import import_mpm
from poselift.lifters.official.pstmo import import_pstmo
from poselift.lifters.systems import cost
from poselift.skeletons import skeleton
from tests.golden_files import golden, golden_json
from tests.unit.training.evaluation.golden_artifacts import (
    SCORE_MM,
    TINY_3DHP,
    TINY_H36M,
    artifact,
    artifact_3dhp,
    sequence_artifact,
    weights,
)


def check_h36m(run: Run, official: dict[str, Any]) -> None:
    assert run.total.mpjpe_mm == pytest.approx(official["p1"], abs=SCORE_MM)
    assert run.total.frames == official["n_test"]
    assert set(run.groups["action"]) == set(official["per_action"])
    for action, scores in official["per_action"].items():
        assert run.groups["action"][action].mpjpe_mm == pytest.approx(scores["p1"], abs=SCORE_MM)
        assert run.groups["action"][action].frames == scores["n"]


def check_per_sample_p_mpjpe(run: Run, official: dict[str, Any]) -> None:
    assert run.total.p_mpjpe_mm == pytest.approx(official["p2_per_sample_action_mean"], abs=SCORE_MM)
    for action, score in official["p2_per_sample"].items():
        assert run.groups["action"][action].p_mpjpe_mm == pytest.approx(score, abs=SCORE_MM)


@pytest.mark.parametrize(
    ("name", "keypoints", "stride"), [("gt_tds2", "gt", 2), ("cpn_ft_h36m_dbb_tds1", "cpn_ft_h36m_dbb", 1)]
)
def test_h36m_scores_equal_the_official_ones(name: str, keypoints: str, stride: int) -> None:
    report = evaluate(artifact(temporal_stride=stride), data="h36m", root=TINY_H36M, keypoints=keypoints)
    assert [run.poses for run in report.runs] == ["plain", "mirrored average"]
    check_h36m(report.runs[1], golden_json("tiny_h36m_expected")[name])
    check_per_sample_p_mpjpe(report.runs[1], golden_json("tiny_h36m_expected")[name])


def test_mixste_scores_equal_the_official_ones() -> None:
    official = golden_json("tiny_h36m_mixste_expected")
    report = evaluate(sequence_artifact(), data="h36m", root=TINY_H36M, keypoints=official["keypoints"])
    run = report.runs[1]
    assert "back to back" in report.protocol
    assert run.groups["action"].keys() == official["per_action"].keys()
    expected = {**official["per_action"], "average": official["average"]}
    for name, scores in {**run.groups["action"], "average": run.total}.items():
        found = [scores.mpjpe_mm, scores.p_mpjpe_mm, scores.n_mpjpe_mm, scores.velocity_mm]
        wanted = [expected[name][key] for key in ("mpjpe", "p_mpjpe", "n_mpjpe", "velocity")]
        assert found == pytest.approx(wanted, abs=SCORE_MM), name
    blended = report.runs[2]
    assert blended.poses == "blended"
    frames = sum(len(read_h36m(TINY_H36M, official["keypoints"], (who,)).keypoints) for who in TEST_SUBJECTS)
    assert blended.total.frames == frames < run.total.frames
    costs = cost("mixste", sequence_artifact().lifter.config)
    assert (report.parameters, report.flops_per_live_frame) == (costs.parameters.full, costs.flops.full)
    assert report.flops_per_frame == costs.flops.full // 13  # windows of 27 frames begin 13 apart


def test_a_report_includes_scores_with_hidden_joints() -> None:
    whole = sequence_artifact()
    report = evaluate(
        whole, data="h36m", root=TINY_H36M, keypoints="gt", split="train", mirrored_average=False, missing=True
    )
    nothing, some, *_, leg = report.missing
    people = read_h36m(TINY_H36M, "gt", TRAIN_SUBJECTS)
    poses = predict(whole.lifter, whole.manifest, people, blended=True).clone()
    poses[:, 0] = 0
    error_mm = 1000 * (poses - people.joints).norm(dim=-1)
    assert nothing.total.mpjpe_mm == pytest.approx(error_mm.mean().item(), abs=SCORE_MM)
    assert math.isnan(nothing.hidden_mm)
    assert some.total.mpjpe_mm != nothing.total.mpjpe_mm
    # A joint that is never seen is put in the middle of the others, by an artifact that has no token.
    seen = people.keypoints.clone()
    limb = list(people.skeleton.limbs["right leg"])
    seen[:, limb] = torch.nan
    poses = predict(whole.lifter, whole.manifest, replace(people, keypoints=seen), blended=True).clone()
    poses[:, 0] = 0
    error_mm = 1000 * (poses - people.joints).norm(dim=-1)
    assert leg.hidden == "right leg"
    assert leg.total.mpjpe_mm == pytest.approx(error_mm.mean().item(), abs=SCORE_MM)
    assert leg.hidden_mm == pytest.approx(error_mm[:, limb].mean().item(), abs=SCORE_MM)


def test_mpm_is_scored_like_any_many_to_one_lifter() -> None:
    lifted = replace(artifact(system="mpm"), lifter=import_mpm(weights("mpm_lift_c64_h128_n27_l3_j17")))
    run = evaluate(lifted, data="h36m", root=TINY_H36M, keypoints="gt", mirrored_average=False).runs[0]
    assert run.total.frames == golden_json("tiny_h36m_expected")["gt_tds2"]["n_test"]
    assert run.total.mpjpe_mm > 0


def test_refined_h36m_scores_equal_the_official_ones(refined_report: Report) -> None:
    expected = golden_json("tiny_h36m_expected")
    _, mirrored, refined, *_ = refined_report.runs
    check_h36m(mirrored, expected["cpn_ft_h36m_dbb_tds2"])
    check_per_sample_p_mpjpe(mirrored, expected["cpn_ft_h36m_dbb_tds2"])
    check_h36m(refined, expected["cpn_ft_h36m_dbb_tds2_refine"])


def test_3dhp_scores_equal_the_official_ones() -> None:
    expected = golden_json("tiny_3dhp_expected")
    run = evaluate(artifact_3dhp(), data="3dhp", root=TINY_3DHP).runs[1]
    assert run.total.mpjpe_mm == pytest.approx(expected["p1_mm"], abs=SCORE_MM)
    assert run.total.frames == expected["n_test"]
    for name, scores in expected["sequences"].items():
        assert run.groups["action"][name].mpjpe_mm == pytest.approx(scores["mpjpe_mm"], abs=SCORE_MM)
        assert run.groups["action"][name].frames == scores["n_valid"]


def test_3dhp_pck_and_auc_equal_the_matlab_scripts() -> None:
    expected, predictions = golden_json("tiny_3dhp_expected"), golden("tiny_3dhp_expected")
    people = read_3dhp_test(TINY_3DHP)
    joints = pck_joints(people.skeleton)
    sequence = people.sequence_of_frame
    pooled = []
    for number, name in enumerate(people.actions):
        target = people.joints[people.valid & (sequence == number)].double()
        predicted = predictions[f"metric_demo_pred/{name}"].double()
        pooled.append((predicted, target))
        demo = expected["sequences"][name]["metric_demo"]
        scores = [score(predicted, target, joints).item() for score in (pck, auc)]
        assert [mpjpe(predicted, target).item(), *scores] == pytest.approx(
            [demo["mpjpe"], demo["pck150"], demo["auc"]], abs=SCORE_MM
        )
    predicted, target = (torch.cat(poses) for poses in zip(*pooled, strict=True))
    together = expected["metric_demo_all_frames_pooled"]
    assert pck(predicted, target, joints).item() == pytest.approx(together["pck150"], abs=SCORE_MM)
    assert auc(predicted, target, joints).item() == pytest.approx(together["auc"], abs=SCORE_MM)


def test_velocity_skips_frames_that_are_not_scored() -> None:
    run = evaluate(artifact_3dhp(), data="3dhp", root=TINY_3DHP, mirrored_average=False).runs[0]
    people = read_3dhp_test(TINY_3DHP)
    # The network hardly moves, so what is left is the true movement between neighbouring valid frames.
    following = people.valid[1:] & people.valid[:-1] & (people.sequence_of_frame.diff() == 0)
    movement = people.joints.diff(dim=0)[following].norm(dim=-1).mean().item()
    assert run.total.velocity_mm == pytest.approx(movement, abs=0.1)


def test_a_lifter_at_another_frame_rate_samples_the_same_moments() -> None:
    reports = [
        evaluate(
            artifact(frame_rate_hz=rate, temporal_stride=stride),
            data="h36m",
            root=TINY_H36M,
            keypoints="gt",
            split="train",
            mirrored_average=False,
        )
        for rate, stride in ((50, 2), (25, 1))
    ]
    assert reports[0].runs[0].total == reports[1].runs[0].total


@pytest.fixture
def mocap(tmp_path: Path) -> Path:
    """The toy people once more, as clips of motion capture from two sources."""
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    # Camera coordinates stood upright: x right, y down, z forward become x, z and y of a world with z up.
    world = people.joints[..., [0, 2, 1]].numpy() * [1, 1, -1] + [0, 0, 1]
    takes = {"one": slice(0, 40), "two": slice(40, 58), "three": slice(58, 90), "four": slice(90, 116)}
    clips = [
        Clip(
            name,
            "S9",
            world[frames],
            split="val" if name != "four" else "train",
            source=source,
            licence="",
            action=action,
        )
        for (name, frames), source, action in zip(takes.items(), "AABA", ("walk", "sit", "walk", "walk"), strict=True)
    ]
    write_clips(tmp_path / "clips.npz", clips)
    return tmp_path


def test_motion_capture_is_scored_by_source_and_action(mocap: Path) -> None:
    report = evaluate(artifact(), data="mocap", root=mocap, split="val", mirrored_average=False, baselines=True)
    runs = [
        (keypoints, poses)
        for keypoints in ("exact", "detector-like")
        for poses in ("plain", "mean pose", "flat figure")
    ]
    assert [(run.keypoints, run.poses) for run in report.runs] == runs
    for run in report.runs:
        assert {name: scores.frames for name, scores in run.groups["source"].items()} == {"A": 58, "B": 32}
        frames = {name: scores.frames for name, scores in run.groups["action"].items()}
        assert frames == {"A: walk": 40, "A: sit": 18, "B: walk": 32}
        assert run.total.frames == 90
        by_frames = sum(scores.mpjpe_mm * scores.frames for scores in run.groups["action"].values()) / 90
        assert run.total.mpjpe_mm == pytest.approx(by_frames)


def test_exact_and_detector_like_keypoints_come_from_the_same_cameras(mocap: Path) -> None:
    report = evaluate(artifact(), data="mocap", root=mocap, split="val", mirrored_average=False, baselines=True)
    mean_poses = [run.total for run in report.runs if run.poses == "mean pose"]
    assert mean_poses[0] == mean_poses[1]


def test_views_are_the_same_in_every_evaluation(mocap: Path) -> None:
    totals = [
        [run.total for run in evaluate(artifact(), data="mocap", root=mocap, split="val", mirrored_average=False).runs]
        for _ in range(2)
    ]
    assert totals[0] == totals[1]


def test_a_lifter_for_other_joints_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="golden lifts h36m17 to h36m17, and the data has mpi17"):
        evaluate(artifact(), data="3dhp", root=TINY_3DHP)


def test_refining_without_cameras_is_refused() -> None:
    refine = import_pstmo(weights("pstmo_c64_h128_n27_l3"), weights("pstmo_refine_j17"))[1]
    with pytest.raises(InvalidDataset, match=r"only Human3\.6M"):
        evaluate(artifact_3dhp(), data="3dhp", root=TINY_3DHP, refine=refine)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="h36m has the splits train, test, not 'val'"):
        evaluate(artifact(), data="h36m", root=TINY_H36M, split="val")


def test_joints_of_the_skeletons_are_those_of_the_data() -> None:
    assert read_3dhp_test(TINY_3DHP).skeleton == skeleton("mpi17")
