"""Overlapping windows and how their outputs are blended."""

import math

import numpy as np
import pytest

from poselift.overlapping_windows import count_overlapping_windows, plan_overlapping_windows


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


def test_windows_begin_half_a_window_apart_at_fixed_moments():
    plan, blend = plan_overlapping_windows(np.arange(100) / 50, 50, 1, 9)
    starts = plan.index[:, 0]
    assert plan.index[-1, -1] == 99
    np.testing.assert_array_equal(starts[:-1], np.arange(0, 91, 4))
    later, _ = plan_overlapping_windows(np.arange(3, 100) / 50, 50, 1, 9)  # a sequence that begins at frame 3
    np.testing.assert_array_equal(later.index[1:-1, 0] + 3, np.arange(4, 91, 4))
    inner = np.count_nonzero(blend.weights[10:-10], axis=1)
    assert inner.min() >= 2


@pytest.mark.parametrize("targets", [slice(None), np.array([3]), np.array([0, 50, 99])])
@pytest.mark.parametrize("fps", [1, 25, 30, 50, 120])
@pytest.mark.parametrize("receptive_field", [9, 10, 81])
@pytest.mark.parametrize("begin_s", [0.0, 0.14, 7.7])
def test_windows_are_counted_without_planning_them(targets, fps, receptive_field, begin_s):
    place = begin_s + np.arange(100) / fps, 50, 2, receptive_field, targets
    assert count_overlapping_windows(*place) == len(plan_overlapping_windows(*place)[0].index)


@pytest.mark.parametrize("gap_s", [1e-300, 1e11])
def test_very_sparse_and_very_dense_frames_make_few_windows(gap_s):
    """Timestamps may have large gaps: neither memory nor time grows with them."""
    times = np.array([0, gap_s, 2e11])
    plan, moments = blended(times, 50, 1, 9)
    assert len(plan.index) <= 3 * 9
    assert count_overlapping_windows(times, 50, 1, 9) == len(plan.index)
    np.testing.assert_allclose(moments, times, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fps", [25, 30, 50, 60, 120])
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


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("samples", [27, 28, 40, 41, 150])
def test_neighbouring_windows_show_the_person_and_the_mirrored_one(stride, samples):
    plan, blend = plan_overlapping_windows(np.arange(samples * stride) / 50, 50, stride, 27)
    series = plan.index[:, 0] % stride  # samples are frames, and windows lie in the order of their first ones
    for one in range(stride):
        mirrored = blend.mirrored[series == one]
        np.testing.assert_array_equal(mirrored, np.arange(len(mirrored)) % 2 == 1)


def test_only_the_windows_that_targets_need_are_lifted():
    times = np.arange(100) / 50
    plan, moments = blended(times, 50, 1, 9, np.array([50, 3]))
    np.testing.assert_allclose(moments, [1.0, 0.06], atol=1e-6)
    assert len(plan.index) <= 6


def reference_blend(frames: int, fps: float, stride: int, receptive_field: int) -> np.ndarray:
    """Weights [T, W, N] of all answers for each frame, at 50 Hz, written out window by window and sample by sample."""
    end = round((frames - 1) / fps * 50, 6)
    last, newest, hop = math.ceil(end), math.floor(end), max(receptive_field // 2, 1)
    heights: dict[tuple[int, int], dict[int, float]] = {}
    for sample in range(last + 1):
        position, series = divmod(sample, stride)
        samples, whole = (last - series) // stride + 1, (newest - series) // stride + 1
        complete = list(range(0, whole - receptive_field + 1, hop))
        covers = {start: receptive_field for start in complete if start <= position < start + receptive_field}
        if not complete or position >= complete[-1] + hop:
            final = max(samples - receptive_field, 0)  # the window at the end fades in
            covers.setdefault(final, receptive_field if not complete else position - complete[-1] - hop + 1)
        full = max(receptive_field // 6, 1) + 1
        ranks = {
            start: min(position - start + 1, receptive_field - position + start, most, full)
            for start, most in covers.items()
        }
        heights[position, series] = {start: rank / (2 * full - rank) for start, rank in ranks.items()}
    windows = sorted({series + stride * start for (_, series), covers in heights.items() for start in covers})
    weights = np.zeros((frames, len(windows), receptive_field))
    for target in range(frames):
        place = round(target / fps * 50, 6)
        sample = int(place)
        share = (place - sample) / (min(sample + 1, end) - sample) if place > sample else 0
        for covered, part in ((sample, 1 - share), (sample + 1, share)) if share else ((sample, 1),):
            position, series = divmod(covered, stride)
            covering = heights[position, series]
            for start, height in covering.items():
                row = windows.index(series + stride * start)
                weights[target, row, position - start] += part * height / sum(covering.values())
    return weights


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
