from pathlib import Path

import numpy as np
import pytest
import torch

from poselift.windows import chunk_indices, plan_windows, window_indices, window_offsets

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
