"""Conditions of a card: what the lifter is shown, and how its scores are compared."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.conditions import (
    FRAME_RATES,
    Condition,
    Series,
    frame_rate_conditions,
    keypoint_conditions,
    lookahead_conditions,
    missing_conditions,
    subsampled,
)
from poselift_training.evaluation.report import Scores
from poselift_training.evaluation.served import lift_as_served

from tests.unit.training.evaluation.walkers import moving, untrained_lifter, views_of


def test_two_neighbours_of_every_ten_frames_are_scored(detected: Sequences) -> None:
    scored = subsampled(replace(detected, valid=torch.ones_like(detected.valid))).valid.nonzero()[:, 0].tolist()
    assert scored[:6] == [0, 1, 10, 11, 20, 21]
    assert 60 in scored  # every sequence counts from its own first frame
    assert set(subsampled(detected).valid.nonzero()[:, 0].tolist()) < set(scored)


@pytest.mark.parametrize("noise", [False, True])
def test_all_frame_rates_contain_the_same_moments(noise: bool) -> None:
    motion = moving((60, 31))
    conditions = list(frame_rate_conditions(motion, partial(views_of, noise=noise)))
    assert [condition.name for condition in conditions] == [f"{rate} fps" for rate in FRAME_RATES]
    shown = []
    for condition, rate in zip(conditions, FRAME_RATES, strict=True):
        frames = condition.sequences
        assert frames.frame_rate_hz == rate
        assert frames.lengths.tolist() == [int(59 / 50 * rate) + 1, int(30 / 50 * rate) + 1]
        # Every joint walks straight, whatever the rate, in camera coordinates too.
        absolute = frames.joints + frames.roots[:, None]
        walk = absolute[: int(frames.lengths[0])].diff(dim=0) * rate
        torch.testing.assert_close(walk, walk[:1].expand_as(walk), rtol=0, atol=2e-3)
        common = frames.frame_indices % (rate // 5) == 0
        assert not (frames.valid & ~common).any()
        shown.append((frames.keypoints[common], frames.joints[common]))
    for keypoints, joints in shown:
        assert len(keypoints) == 6 + 4  # every fifth of a second
        torch.testing.assert_close(keypoints, shown[0][0], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(joints, shown[0][1], rtol=0, atol=0)


def test_a_network_is_served_at_any_frame_rate() -> None:
    motion = moving((60, 31))
    who = untrained_lifter("token")
    conditions = list(frame_rate_conditions(motion, partial(views_of, noise=False)))
    poses = {
        condition.name: lift_as_served(who.lifter, who.manifest, replace_valid(condition.sequences)).joints
        for condition in conditions
    }
    assert {name: len(found) for name, found in poses.items()} == {condition.name: 10 for condition in conditions}
    # Far from the ends windows hold the same moments, up to interpolation on the way of the keypoints.
    amid = slice(2, 5)
    for found in poses.values():
        torch.testing.assert_close(found[amid], poses["50 fps"][amid], rtol=0, atol=0.02)


def replace_valid(sequences: Sequences) -> Sequences:
    """All common moments scored, wherever the person stands in the picture."""
    assert sequences.frame_rate_hz is not None
    return replace(sequences, valid=sequences.frame_indices % int(sequences.frame_rate_hz // 5) == 0)


def test_gaussian_noise_has_the_deviation_it_is_named_after(detected: Sequences) -> None:
    exact = views_of(moving((400,)), noise=False)
    conditions = list(keypoint_conditions(exact, detected))
    assert [condition.name for condition in conditions] == [
        "exact",
        "Gaussian, 0.01",
        "Gaussian, 0.03",
        "Gaussian, 0.05",
        "detector-like",
    ]
    for condition, deviation in zip(conditions[1:4], (0.01, 0.03, 0.05), strict=True):
        noise = condition.sequences.keypoints - exact.keypoints
        assert noise.std().item() == pytest.approx(deviation, rel=0.05)
        assert noise.mean().item() == pytest.approx(0, abs=0.1 * deviation)
    again = list(keypoint_conditions(exact, detected))[2].sequences.keypoints
    assert torch.equal(again, conditions[2].sequences.keypoints)


def test_lookahead_stops_at_what_the_window_reaches(detected: Sequences) -> None:
    manifest = untrained_lifter("token").manifest  # 4 samples after the middle, 3 frames apart
    conditions = list(lookahead_conditions(manifest, detected))
    assert [(condition.name, condition.lookahead) for condition in conditions] == [
        ("0 frames", 0),
        ("5 frames", 5),
        ("full", None),
    ]


def test_hidden_joints_are_missing(detected: Sequences) -> None:
    exact = views_of(moving((60,)), noise=False)
    conditions = {condition.name: condition.sequences for condition in missing_conditions(exact)}
    assert list(conditions) == ["0 %", "10 %", "20 %", "40 %", "left arm", "right arm", "left leg", "right leg"]
    assert not conditions["0 %"].keypoints.isnan().any()
    assert conditions["left arm"].keypoints[:, exact.skeleton.limbs["left arm"]].isnan().all()
    assert conditions["left arm"].keypoints.isnan().sum() == 60 * 3 * 2


def test_a_series_compares_with_its_reference(detected: Sequences) -> None:
    who = untrained_lifter("token")
    series = who.series(
        "what", [Condition("all", detected), Condition("none", detected, 0)], reference="all", note="What is shown."
    )
    assert series.scores["all"].frames == series.scores["none"].frames == 86
    assert series.cost_percent("all") == 0
    scores = Scores(1, 100.0, 0, 0, 0, 0, 0)
    made_up = Series({"a": scores, "b": replace(scores, mpjpe_mm=112.0)}, "a", "")
    assert made_up.cost_percent("b") == pytest.approx(12)


def test_expected_errors_are_compared_with_true_ones(detected: Sequences) -> None:
    who = untrained_lifter("token", expected_error=True)
    joints, expected_error_m = lift_as_served(who.lifter, who.manifest, detected)
    assert expected_error_m is not None
    assert expected_error_m.shape == (86, 17)
    (tenths,) = who.calibration([Condition("all", detected)]).values()
    assert sum(tenth.joints for tenth in tenths) == 86 * 16
    expected_mm = 1000 * expected_error_m[:, 1:]
    true_mm = 1000 * (joints - detected.joints[detected.valid]).norm(dim=-1)[:, 1:]
    assert sum(tenth.joints * tenth.expected_mm for tenth in tenths) == pytest.approx(expected_mm.sum().item())
    assert sum(tenth.joints * tenth.true_mm for tenth in tenths) == pytest.approx(true_mm.sum().item())
    assert [tenth.expected_mm for tenth in tenths] == sorted(tenth.expected_mm for tenth in tenths)
    assert who.series("", [Condition("all", detected)], reference="all", note="").scores["all"].frames == 86
    assert untrained_lifter("token").calibration([Condition("all", detected)]) == {}
