import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from poselift_training.data.clips import Clip, write_clips
from poselift_training.data.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_h36m
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test
from poselift_training.evaluation.baselines import flat_figure, mean_pose
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.hidden_joints import hide
from poselift_training.evaluation.metrics import auc, mpjpe, pck, pck_joints
from poselift_training.evaluation.predict import predict, scored_frames
from poselift_training.evaluation.report import Report, Run, show

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidDataset
from poselift.lifters.official.mixste import import_mixste
from poselift.lifters.official.mpm import import_mpm
from poselift.lifters.official.pstmo import import_pstmo
from poselift.lifters.systems import cost
from poselift.lifting import Sequence
from poselift.skeletons import skeleton
from poselift.windows import plan_overlapping_windows
from tests.golden_files import GOLDEN, golden, golden_json

# The poses of these random weights are metres off, so float32 alone costs some micrometres.
SCORE_MM = 0.01
POSE_M = 5e-5
TINY_H36M, TINY_3DHP = GOLDEN / "tiny_h36m", GOLDEN / "tiny_3dhp"


def weights(name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix("weights/"): value for key, value in golden(name).items() if key.startswith("weights/")}


def artifact(**changes: Any) -> Artifact:
    """The golden weights, as an import of them would publish them."""
    fields = {
        "name": "golden",
        "system": "pstmo",
        "network": {},
        "input_skeleton": "h36m17",
        "output_skeleton": "h36m17",
        "frame_rate_hz": 50,
        "temporal_stride": 2,
        "missing_joints": "hold",
        **changes,
    }
    return Artifact(Manifest.model_validate(fields), import_pstmo(weights("pstmo_c64_h128_n27_l3"))[0])


def artifact_3dhp() -> Artifact:
    return artifact(input_skeleton="mpi17", output_skeleton="mpi17", unit_m=0.001, temporal_stride=1)


@pytest.fixture(scope="module")
def refined_report() -> Report:
    refine = import_pstmo(weights("pstmo_c64_h128_n27_l3"), weights("pstmo_refine_j17"))[1]
    return evaluate(artifact(), data="h36m", root=TINY_H36M, keypoints="cpn_ft_h36m_dbb", refine=refine, baselines=True)


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


def sequence_artifact(**changes: Any) -> Artifact:
    lifter = import_mixste(weights("mixste_c64_n27_d3"))
    return replace(artifact(**{"system": "mixste", "temporal_stride": 1, **changes}), lifter=lifter)


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
    assert (report.parameters, report.flops_per_frame) == (costs.parameters.full, costs.flops.full // 27)


@pytest.mark.parametrize("stride", [1, 2])
def test_blended_poses_are_those_that_are_served(stride: int) -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    first = slice(0, int(people.lengths[0]))
    people = replace(people, valid=people.sequence_of_frame == 0)
    served = sequence_artifact(temporal_stride=stride)
    blended = predict(served.lifter, served.manifest, people, blended=True)
    joints = torch.from_numpy(lift_screen(served, people.keypoints[first].numpy()))
    torch.testing.assert_close(blended, joints, rtol=0, atol=POSE_M)


def lift_screen(served: Artifact, screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the server answers for these screen coordinates, but for the root, which it sets to zero."""
    times = Sequence.times_at(50, len(screen))
    stride, frames = served.manifest.temporal_stride, served.lifter.receptive_field
    plan, blend = plan_overlapping_windows(times, 50, stride, frames)
    with torch.no_grad():
        answers = served.lifter(torch.from_numpy(plan.sample(screen)[plan.index])).frames
    assert answers is not None
    return blend.mix(answers.numpy())


def test_missing_joints_are_hidden_by_chance_and_by_limbs() -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    hidden = dict(hide(people))
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
        torch.equal(joints, hide_again) for joints, (_, hide_again) in zip(hidden.values(), hide(people), strict=True)
    )


def test_scores_without_joints_stand_beside_the_others() -> None:
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


def test_a_sequence_lifter_at_a_stride_sees_interleaved_sequences() -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    strided = sequence_artifact(temporal_stride=2)
    poses = predict(strided.lifter, strided.manifest, people)
    frames = scored_frames(strided.lifter, strided.manifest, people)
    assert set(frames.tolist()) == set(range(len(people.keypoints)))
    length = int(people.lengths[0])
    odd = people.keypoints[1:length:2]
    expected = strided.lifter(odd[:27][None]).frames
    assert expected is not None
    even_chunks = 2 * 27 if (length + 1) // 2 > 27 else 27
    torch.testing.assert_close(poses[even_chunks : even_chunks + 27], expected[0], rtol=0, atol=POSE_M)


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


def test_poses_equal_the_official_ones() -> None:
    expected = golden("tiny_h36m_expected")
    windows = expected["index/gt_tds2"]
    people = read_h36m(TINY_H36M, "gt", TEST_SUBJECTS)
    people = replace(people, valid=torch.zeros_like(people.valid).index_fill(0, windows, True))
    imported = artifact()
    lifter = imported.lifter.for_inference()
    plain, mirrored = (predict(lifter, imported.manifest, people, mirrored=flag) for flag in (False, True))
    poses = (plain + mirrored) / 2
    poses[:, 0] = 0
    torch.testing.assert_close(poses, expected["pred/gt_tds2"], rtol=0, atol=POSE_M)
    torch.testing.assert_close(people.joints[people.valid], expected["target/gt_tds2"], rtol=0, atol=POSE_M)


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


def test_velocity_takes_no_step_over_frames_that_are_not_scored() -> None:
    run = evaluate(artifact_3dhp(), data="3dhp", root=TINY_3DHP, mirrored_average=False).runs[0]
    people = read_3dhp_test(TINY_3DHP)
    # The network hardly moves, so what is left is the true movement between neighbouring valid frames.
    following = people.valid[1:] & people.valid[:-1] & (people.sequence_of_frame.diff() == 0)
    movement = people.joints.diff(dim=0)[following].norm(dim=-1).mean().item()
    assert run.total.velocity_mm == pytest.approx(movement, abs=0.1)


def test_a_lifter_at_another_frame_rate_sees_the_same_moments() -> None:
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


def test_baselines_are_scored_beside_the_lifter(refined_report: Report) -> None:
    by_name = {run.poses: run.total for run in refined_report.runs}
    assert list(by_name)[3:] == ["mean pose", "flat figure"]
    # Both are people, unlike what random weights give.
    assert max(by_name["mean pose"].mpjpe_mm, by_name["flat figure"].mpjpe_mm) < 300


def test_the_baselines_are_what_they_say() -> None:
    training = read_h36m(TINY_H36M, "gt", TRAIN_SUBJECTS)
    people = read_h36m(TINY_H36M, "gt", TEST_SUBJECTS)
    torch.testing.assert_close(mean_pose(training, people)[5], training.joints.mean(dim=0))
    facing = replace(people, joints=people.joints * torch.tensor([1, 1, 0]), keypoints=people.joints[..., :2] / 4 + 0.3)
    torch.testing.assert_close(flat_figure(facing), facing.joints, rtol=0, atol=1e-5)
    holes = facing.keypoints.clone()
    holes[10, 3] = torch.nan
    assert flat_figure(replace(facing, keypoints=holes)).isfinite().all()


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


def test_the_same_films_are_made_in_every_evaluation(mocap: Path) -> None:
    totals = [
        [run.total for run in evaluate(artifact(), data="mocap", root=mocap, split="val", mirrored_average=False).runs]
        for _ in range(2)
    ]
    assert totals[0] == totals[1]


def test_a_lifter_for_other_joints_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="golden lifts h36m17 to h36m17, and the data has mpi17"):
        evaluate(artifact(), data="3dhp", root=TINY_3DHP)


def test_a_frame_rate_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidDataset, match=r"every 66\.6667 ms.*50 frames per second"):
        evaluate(artifact(frame_rate_hz=30), data="h36m", root=TINY_H36M, keypoints="gt")


def test_refining_without_cameras_is_refused() -> None:
    refine = import_pstmo(weights("pstmo_c64_h128_n27_l3"), weights("pstmo_refine_j17"))[1]
    with pytest.raises(InvalidDataset, match=r"only Human3\.6M"):
        evaluate(artifact_3dhp(), data="3dhp", root=TINY_3DHP, refine=refine)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="h36m has the splits train, test, not 'val'"):
        evaluate(artifact(), data="h36m", root=TINY_H36M, split="val")


def test_a_report_is_printed_as_tables(refined_report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    show(refined_report)
    printed = capsys.readouterr().out
    for word in (
        "golden@0",
        "M parameters",
        "MFLOPs per pose",
        "P-MPJPE",
        "mirrored average",
        "3279.58",
        "400.69",
        "WalkTogether",
        "windows/s",
    ):
        assert word in printed


def test_a_report_is_printed_as_json(refined_report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    first = refined_report.runs[0]
    still = replace(first, total=replace(first.total, velocity_mm=float("nan")))
    show(replace(refined_report, runs=(still, *refined_report.runs[1:])), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["runs"][1]["groups"]["action"]["Walking"]["mpjpe_mm"] == pytest.approx(3301.18, abs=SCORE_MM)
    assert printed["runs"][0]["total"]["velocity_mm"] is None


def test_joints_of_the_skeletons_are_those_of_the_data() -> None:
    assert read_3dhp_test(TINY_3DHP).skeleton == skeleton("mpi17")
