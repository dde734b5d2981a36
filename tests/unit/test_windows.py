import math
from pathlib import Path

import numpy as np
import pytest
import torch

from poselift.windows import (
    chunk_indices,
    count_overlapping_windows,
    plan_overlapping_windows,
    plan_windows,
    window_indices,
    window_offsets,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tds_windows.npz")


@pytest.mark.parametrize("key", [key for key in GOLDEN.files if not key.startswith("defect")])
def test_windows_are_those_of_the_official_loader(key):
    frames, receptive_field, stride = (int("".join(filter(str.isdecimal, part))) for part in key.split("_"))
    offsets = window_offsets(receptive_field, stride)
    np.testing.assert_array_equal(window_indices(np.arange(frames), offsets, frames - 1), GOLDEN[key])
    torch_indices = window_indices(torch.arange(frames), torch.from_numpy(offsets), frames - 1)
    np.testing.assert_array_equal(torch_indices.numpy(), GOLDEN[key])


@pytest.mark.parametrize("key", [key for key in GOLDEN.files if not key.startswith("defect")])
def test_a_plan_at_the_artifacts_rate_is_the_official_window(key):
    frames, receptive_field, stride = (int("".join(filter(str.isdecimal, part))) for part in key.split("_"))
    plan = plan_windows(np.arange(frames) / 50, 50, stride, receptive_field)
    np.testing.assert_array_equal(plan.lower, plan.upper)
    np.testing.assert_array_equal(plan.lower[plan.index], GOLDEN[key])


def test_a_window_wider_than_the_sequence_is_padded_on_both_sides():
    plan = plan_windows(np.arange(3) / 50, 50, 2, 9)
    np.testing.assert_array_equal(plan.lower[plan.index][1], [0, 0, 0, 0, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 59.94, 60, 120])
def test_samples_are_interpolated_at_their_times(fps):
    times_s = np.arange(200) / fps
    plan = plan_windows(times_s, 50, 3, 27)
    # A ramp interpolates exactly, so the sampled value is the sampled time.
    sampled_s = plan.sample(times_s.astype(np.float32))[plan.index]
    wanted_s = np.clip(times_s[:, None] + window_offsets(27, 3) / 50, times_s[0], times_s[-1])
    assert np.abs(sampled_s - wanted_s).max() < 0.5 / 20 / fps + 1e-6


def test_the_usual_rates_are_sampled_exactly_and_share_samples():
    for fps in (25, 30, 50, 60):
        times_s = np.arange(150) / fps
        plan = plan_windows(times_s, 50, 3, 27)
        sampled_s = plan.sample(times_s.astype(np.float32))[plan.index]
        wanted_s = np.clip(times_s[:, None] + window_offsets(27, 3) / 50, times_s[0], times_s[-1])
        np.testing.assert_allclose(sampled_s, wanted_s, atol=1e-6)
        assert len(plan.lower) <= 5 * 150


@pytest.mark.parametrize("smoothed", [False, True])
def test_times_need_not_be_equidistant(smoothed):
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, 100))
    plan = plan_windows(times_s, 50, 1, 9, smoothed=smoothed)
    sampled_s = plan.sample(times_s.astype(np.float32))[plan.index][50]
    np.testing.assert_allclose(sampled_s, times_s[50] + np.arange(-4, 5) / 50, atol=0.08 / 40 + 1e-6)


@pytest.mark.parametrize("fps", [25, 30, 50, 60])
def test_smoothed_samples_are_means_with_those_one_frame_before_and_after(fps):
    times_s = np.arange(150) / fps
    waves = np.sin(times_s[:, None] * [1, 2]).astype(np.float32)
    plan = plan_windows(times_s, 50, 3, 27, smoothed=True)
    # Beyond the sequence its first and last frame are repeated before smoothing.
    sample_times_s = np.clip(times_s[:, None] + window_offsets(27, 3) / 50, times_s[0], times_s[-1])
    around_s = sample_times_s[..., None] + np.array([-1, 0, 1]) / 50
    wanted = np.stack([np.interp(around_s, times_s, wave).mean(-1) for wave in waves.T], axis=-1)
    np.testing.assert_allclose(plan.sample(waves)[plan.index], wanted, atol=1e-6)


def test_a_smoothed_sample_is_missing_if_all_three_are():
    frames = np.arange(6, dtype=np.float32)[:, None, None].repeat(2, axis=2)
    frames[[1, 2, 3]] = np.nan
    plan = plan_windows(np.arange(6) / 50, 50, 3, 9, smoothed=True)
    middles = plan.sample(frames)[plan.index][:, 4, 0, 0]
    np.testing.assert_allclose(middles, [0, 0, np.nan, 4, 4.5, 14 / 3], rtol=1e-6)


def test_targets_choose_rows():
    times_s = np.arange(90) / 30
    whole = plan_windows(times_s, 50, 3, 27)
    part = plan_windows(times_s, 50, 3, 27, targets=slice(40, 50))
    ramp = times_s.astype(np.float32)
    np.testing.assert_array_equal(part.sample(ramp)[part.index], whole.sample(ramp)[whole.index][40:50])


def test_a_sample_interpolated_from_a_missing_frame_is_missing():
    frames = np.arange(10, dtype=np.float32)
    frames[5] = np.nan
    plan = plan_windows(np.arange(10) / 25, 50, 1, 9)
    sampled = plan.sample(frames)[plan.index]
    np.testing.assert_array_equal(sampled[4], [2, 2.5, 3, 3.5, 4, np.nan, np.nan, np.nan, 6])


@pytest.mark.parametrize(
    ("frames", "starts"), [(9, [0]), (10, [0, 1]), (18, [0, 9]), (22, [0, 9, 13]), (27, [0, 9, 18])]
)
def test_chunks_are_consecutive_and_the_last_ends_with_the_sequence(frames, starts):
    chunks = chunk_indices(frames, 9)
    assert chunks[:, 0].tolist() == starts
    assert (np.diff(chunks) == 1).all()
    assert chunks[-1, -1] == frames - 1


def test_a_sequence_shorter_than_a_window_repeats_its_last_frame():
    assert chunk_indices(4, 9).tolist() == [[0, 1, 2, 3, 3, 3, 3, 3, 3]]


def blended(times, rate, stride, samples, targets=slice(None)):
    """The result if the output of each window is the times of its own samples."""
    plan, blend = plan_overlapping_windows(times, rate, stride, samples, targets)
    np.testing.assert_allclose(blend.weights.sum(axis=1), 1, rtol=1e-6)
    assert (blend.weights >= 0).all()
    return plan, blend.mix(plan.sample(times.astype(np.float32)[:, None])[plan.index])[:, 0]


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 10, 13, 14, 100])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_frame_gets_its_own_outputs(frames, stride):
    times = np.arange(frames) / 50
    plan, moments = blended(times, 50, stride, 9)
    np.testing.assert_allclose(moments, times, atol=1e-6)
    assert not plan.weight.any()  # samples are frames


@pytest.mark.parametrize("fps", [16, 25, 30, 50, 60, 120])
@pytest.mark.parametrize("stride", [1, 3])
def test_poses_are_at_the_callers_frames_at_any_rate(fps, stride):
    times = 3.0 + np.arange(70) / fps
    _, moments = blended(times, 50, stride, 9)
    np.testing.assert_allclose(moments[:-1], times[:-1], atol=0.5 / 20 / fps + 1e-6)
    np.testing.assert_allclose(moments[-1], times[-1], atol=0.02 * stride)  # samples end with the sequence


def test_neighbouring_windows_share_half_of_their_samples():
    plan, blend = plan_overlapping_windows(np.arange(100) / 50, 50, 1, 9)
    starts = plan.index[:, 0]
    assert starts[0] == 0
    assert plan.index[-1, -1] == 99
    assert np.diff(starts).max() <= 4
    inner = np.count_nonzero(blend.weights[10:-10], axis=1)
    assert inner.min() >= 2


@pytest.mark.parametrize("targets", [slice(None), np.array([3]), np.array([0, 50, 99])])
@pytest.mark.parametrize("fps", [1, 25, 30, 50, 120])
@pytest.mark.parametrize("receptive_field", [9, 10, 81])
def test_windows_are_counted_without_planning_them(targets, fps, receptive_field):
    place = np.arange(100) / fps, 50, 2, receptive_field, targets
    assert count_overlapping_windows(*place) == len(plan_overlapping_windows(*place)[0].index)


@pytest.mark.parametrize("gap_s", [1e-300, 1e11])
def test_very_sparse_and_very_dense_frames_make_few_windows(gap_s):
    """Timestamps may have large gaps: neither memory nor time grows with them."""
    times = np.array([0, gap_s, 2e11])
    plan, moments = blended(times, 50, 1, 9)
    assert len(plan.index) <= 3 * 9
    assert count_overlapping_windows(times, 50, 1, 9) == len(plan.index)
    np.testing.assert_allclose(moments, times, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fps", [16, 25, 30, 50, 60, 120])
def test_smoothed_outputs_keep_steady_motion_and_average_what_jitters(fps):
    times = np.arange(70) / fps
    plan, blend = plan_overlapping_windows(times, 50, 3, 9, smoothed_outputs=True)
    np.testing.assert_allclose(blend.weights.sum(axis=1), 1, rtol=1e-6)
    moments = blend.mix(plan.sample(times.astype(np.float32)[:, None])[plan.index])[:, 0]
    inner = (times >= 0.02) & (times <= times[-1] - 0.08)  # at the ends a time is repeated
    np.testing.assert_allclose(moments[inner], times[inner], atol=0.5 / 20 / fps + 1e-6)
    plain_plan, plain = plan_overlapping_windows(times, 50, 3, 9)
    np.testing.assert_array_equal(plan.index, plain_plan.index)  # the same windows, so no more work
    noise = np.random.default_rng(0).normal(size=(2000, *plan.index.shape)).astype(np.float32)
    steps = [np.diff([part.mix(one[..., None])[:, 0] for one in noise], axis=1).std() for part in (plain, blend)]
    assert steps[1] < (0.7 if fps >= 50 else 0.9) * steps[0]


def test_smoothed_outputs_are_those_of_three_times():
    times = np.arange(40) / 50
    plan, blend = plan_overlapping_windows(times, 50, 3, 9, smoothed_outputs=True)
    answers = np.random.default_rng(0).normal(size=(*plan.index.shape, 1)).astype(np.float32)
    plain = plan_overlapping_windows(times, 50, 3, 9)[1].mix(answers)[:, 0]
    padded = np.pad(plain, 1, mode="edge")
    expected = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    np.testing.assert_allclose(blend.mix(answers)[:, 0], expected, atol=1e-5)
    some = np.array([3, 20])
    few, its_blend = plan_overlapping_windows(times, 50, 3, 9, some, smoothed_outputs=True)
    assert len(few.index) == count_overlapping_windows(times, 50, 3, 9, some, smoothed_outputs=True)
    of_frames = times.astype(np.float32)[:, None]
    np.testing.assert_allclose(its_blend.mix(few.sample(of_frames)[few.index])[:, 0], times[some], atol=1e-6)


def test_only_the_windows_that_targets_need_are_lifted():
    times = np.arange(100) / 50
    plan, moments = blended(times, 50, 1, 9, np.array([50, 3]))
    np.testing.assert_allclose(moments, [1.0, 0.06], atol=1e-6)
    assert len(plan.index) <= 6


def reference_blend(frames: int, fps: float, stride: int, receptive_field: int) -> np.ndarray:
    """Weights [T, W, N] of all answers for each frame, at 50 Hz, written out window by window.

    Every window that covers a sample counts, by the distance of the sample to the nearer end of the window.
    """
    spacing_s = stride / 50
    series = max(1, math.ceil(fps * spacing_s))
    last = math.ceil(round((frames - 1) / fps / (spacing_s / series), 6))
    windows = sorted(
        (first + series * start, first, start)
        for first in range(min(series, last + 1))
        for start in window_starts((last - first) // series + 1, receptive_field)
    )
    weights = np.zeros((frames, len(windows), receptive_field))
    for target in range(frames):
        place = round(target / fps / (spacing_s / series), 6)
        sample, share = int(place), place - int(place)
        for covered, part in ((sample, 1 - share), (sample + 1, share)) if share else ((sample, 1),):
            position = min(covered, last) // series
            heights = {
                (number, position - start): min(position - start + 1, receptive_field - position + start)
                for number, (_, first, start) in enumerate(windows)
                if first == min(covered, last) % series and 0 <= position - start < receptive_field
            }
            for (number, offset), height in heights.items():
                weights[target, number, offset] += part * height / sum(heights.values())
    return weights


def window_starts(samples: int, receptive_field: int) -> list[int]:
    """First samples of windows at equal distances, at most half a window apart, from the first to the last sample."""
    spare = max(samples - receptive_field, 0)
    gaps = math.ceil(spare / (receptive_field // 2))
    return [round(number * spare / gaps) for number in range(gaps + 1)] if gaps else [0]


@pytest.mark.parametrize("receptive_field", [4, 5, 9, 10, 27])
@pytest.mark.parametrize(("fps", "stride"), [(50, 1), (50, 3), (25, 1), (60, 1), (120, 1)])
def test_blended_weights_are_those_of_all_windows_over_a_sample(receptive_field: int, fps: float, stride: int):
    for frames in (1, 3, receptive_field + 1, 3 * receptive_field // 2 + 2, 2 * receptive_field + 1, 70):
        plan, blend = plan_overlapping_windows(np.arange(frames) / fps, 50, stride, receptive_field)
        weights = np.zeros((frames, plan.index.size))
        np.add.at(weights, (np.arange(frames)[:, None], blend.rows), blend.weights)
        expected = reference_blend(frames, fps, stride, receptive_field)
        needed = expected.any(axis=(0, 2))  # a window that covers no target is not lifted
        np.testing.assert_allclose(
            weights.reshape(frames, -1, receptive_field), expected[:, needed], atol=1e-6, err_msg=f"{frames} frames"
        )
