"""Which moments of a sequence a lifter sees for each of its frames: one code trains and serves.

A window of N samples lies around its target frame, `stride / rate` seconds apart. At the artifact's own rate the
samples are frames (temporal downsampling, as in training); at any other rate they fall between frames and are
interpolated. Outside the sequence the first and the last frame are repeated, on both sides.

Where samples lie some frames apart, the windows of one frame and the next have no sample in common, and a detector's
jitter becomes one of the poses. For an artifact that is smoothed, each sample is the mean of three: with those one
frame (at the artifact's own rate) before and after it.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Indices = TypeVar("Indices", NDArray[np.int64], torch.Tensor)

# Sample times are rounded to this fraction of a frame. It makes windows of neighbouring targets share their samples
# (and so the per-frame encoder). At 25, 30, 50 and 60 fps against 50 Hz it changes nothing; at any other rate it moves
# a sample by at most a fortieth of a frame, under a millisecond at 30 fps.
PHASES_PER_FRAME = 20


# Frames whose times differ by less than this share of a sample's spacing are at the same time.
_SAME_TIME = 1e-6
# Frames that lie still closer together are interpolated from samples at this many per sample of a window.
_MOST_SERIES = 1000
# Frames at the artifact's rate from a smoothed sample to the three that it is the mean of.
_AROUND = (-1, 0, 1)
# Neighbouring windows lie at least a quarter of a window apart, or there are only two of them.
_MOST_WINDOWS_OVER_A_SAMPLE = 5


def window_offsets(receptive_field: int, stride: int) -> NDArray[np.int64]:
    """Frame offsets of a window's samples from its target: stride * (-(N-1)/2 ... (N-1)/2), [N]."""
    return (np.arange(receptive_field, dtype=np.int64) - (receptive_field - 1) // 2) * stride


def window_indices(centres: Indices, offsets: Indices, last: Any) -> Indices:
    """Frame indices of the windows around `centres`, the edge frames repeated outside the sequence.

    Args:
        centres: [...] target frames.
        offsets: [N] from `window_offsets`, as the same kind of array.
        last: index of the last frame; one number, or an array [..., 1] when the windows come from several sequences.
    Returns:
        [..., N], each within 0 ... last.
    Source: P-STMO temporal downsampling strategy; the official loader forgets the right side of short sequences.
    """
    return (centres[..., None] + offsets).clip(min=0).clip(max=last)


def chunk_indices(frames: int, receptive_field: int) -> NDArray[np.int64]:
    """Cut a sequence into windows back to back; the last one ends with it and may overlap the one before.

    Args:
        frames: length of the sequence, at least 1; of one shorter than a window the last frame is repeated.
    Returns:
        [W, N] frame indices.
    Source: the official evaluation of MixSTE.
    """
    last = max(frames - receptive_field, 0)
    starts = np.append(np.arange(0, last, receptive_field, dtype=np.int64), last)
    return (starts[:, None] + np.arange(receptive_field)).clip(max=frames - 1)


@dataclass(frozen=True)
class WindowPlan:
    """Samples that a set of windows needs, each once, and where each window finds its own.

    Attributes:
        lower, upper: [U] frames on both sides of each sample, equal where the sample is a frame; or [U, 3], on both
            sides of the three that it is the mean of.
        weight: as these, float32 in [0, 1), the share of `upper`.
        index: [T, N] rows of U, one row of it per target frame.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float32]
    index: NDArray[np.int64]

    def sample(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate frames [F, ...] at the samples, [U, ...]; a sample beside a missing (NaN) joint misses it too.

        A mean of three misses the joints that all three miss.
        """
        sampled = frames.take(self.lower, axis=0)
        if not self._falls_on_frames:
            weight = self.weight.reshape(*self.weight.shape, *(1,) * (frames.ndim - 1))
            sampled = (1 - weight) * sampled + weight * frames.take(self.upper, axis=0)
        return sampled if self.lower.ndim == 1 else _mean_of_seen(sampled)

    @cached_property
    def _falls_on_frames(self) -> bool:
        return np.array_equal(self.lower, self.upper)


def plan_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
    *,
    smoothed: bool = False,
) -> WindowPlan:
    """Lay a window around each target frame of a sequence.

    Args:
        times_s: [F] strictly increasing times of the frames.
        rate_hz: frame rate the lifter was trained at.
        stride: frames at `rate_hz` between two samples of a window.
        receptive_field: samples per window, N.
        targets: the frames to lift, as a slice or as [T] indices.
        smoothed: whether samples are means of three.
    Returns:
        Rows of `index` in the order of the targets; samples beside the sequence repeat its first or last frame.
    """
    offsets_s = window_offsets(receptive_field, stride) / rate_hz
    sample_times_s = times_s[targets, None] + offsets_s
    # np.interp repeats the first and the last frame outside of the sequence: the edge padding.
    positions = np.interp(sample_times_s, times_s, np.arange(len(times_s), dtype=np.float64))
    plan = plan_phases(_phases(positions))
    return _smoothed(plan, times_s, rate_hz) if smoothed else plan


def _smoothed(plan: WindowPlan, times_s: NDArray[np.float64], rate_hz: float) -> WindowPlan:
    """The same windows over samples that are means of three."""
    places = np.arange(len(times_s), dtype=np.float64)
    sample_times_s = np.interp(plan.lower + plan.weight.astype(np.float64), places, times_s)
    around_s = sample_times_s[:, None] + np.array(_AROUND) / rate_hz
    return _plan(_phases_halves_up(np.interp(around_s, times_s, places)), plan.index)


def _mean_of_seen(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the second axis of samples [U, 3, ...], of those that are not NaN."""
    total: NDArray[np.float32] = samples.sum(axis=1)
    if not np.isnan(total).any():
        return total / np.float32(samples.shape[1])
    seen = ~np.isnan(samples)
    count = seen.sum(axis=1, dtype=np.float32)
    with np.errstate(invalid="ignore"):  # none of them: 0 / 0 is NaN
        mean: NDArray[np.float32] = np.where(seen, samples, np.float32(0)).sum(axis=1) / count
    return mean


@dataclass(frozen=True)
class Blend:
    """How the poses that overlapping windows answer with become one pose for each target.

    Attributes:
        rows: [T, K] int64 rows of the answers [W, N, ...] laid flat, [W * N, ...].
        weights: [T, K] float32, the share of each; those of one target sum to 1.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]

    def mix(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blend answers [W, N, ...] into [T, ...]."""
        flat = answers.reshape(-1, *answers.shape[2:])
        mixed: NDArray[np.float32] = np.einsum("tk,tk...->t...", self.weights, flat[self.rows])
        return mixed


def plan_overlapping_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
    *,
    smoothed: bool = False,
) -> tuple[WindowPlan, Blend]:
    """Lay windows over a sequence for a lifter that answers with all frames of a window.

    Neighbouring windows share half of their samples or more, and a sample's answers count less the nearer they are to
    the edge of their window, so that no seam shows. Where the caller's frames lie closer together than the samples of a
    window, several series of windows interleave; a target between two samples is interpolated from their answers.

    Args:
        as `plan_windows`.
    Returns:
        The windows [W, N] that the targets need, and how their answers become poses of the targets.
    """
    series = _Series.over(times_s, rate_hz, stride, receptive_field)
    starts, offsets, weights = series.answers((times_s[targets] - times_s[0]) / series.step_s)
    used, window = np.unique(starts, return_inverse=True)
    rows = window.reshape(starts.shape) * receptive_field + offsets
    sample_times_s = times_s[0] + series.step_s * series.samples(used)
    phases = _phases(np.interp(sample_times_s, times_s, np.arange(len(times_s), dtype=np.float64)))
    plan = plan_phases(phases)
    return _smoothed(plan, times_s, rate_hz) if smoothed else plan, Blend(rows, weights)


def count_overlapping_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
) -> int:
    """How many windows `plan_overlapping_windows` lays; quick where they are fewer than targets, as in most clips."""
    series = _Series.over(times_s, rate_hz, stride, receptive_field)
    wanted = times_s[targets]
    if series.windows <= len(wanted):
        return series.windows
    return len(np.unique(series.answers((wanted - times_s[0]) / series.step_s)[0]))


@dataclass(frozen=True)
class _Series:
    """Samples of a sequence, from its first frame on, and overlapping windows over every `series`-th of them.

    Nothing here grows with the time that the sequence spans, for its frames may lie far apart.

    Attributes:
        step_s: between two samples.
        series: how many series of windows interleave, one from each of the first samples.
        last: index of the last sample.
    """

    receptive_field: int
    step_s: float
    series: int
    last: int

    @staticmethod
    def over(times_s: NDArray[np.float64], rate_hz: float, stride: int, receptive_field: int) -> "_Series":
        spacing_s = stride / rate_hz
        frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else spacing_s
        series = math.ceil(min(max(spacing_s / frame_s - _SAME_TIME, 1), _MOST_SERIES))
        step_s = spacing_s / series
        return _Series(receptive_field, step_s, series, math.ceil(round((times_s[-1] - times_s[0]) / step_s, 6)))

    @property
    def windows(self) -> int:
        """How many there are, of all series."""
        return int(self._windows_from(np.arange(min(self.series, self.last + 1)))[1].sum())

    def answers(self, places: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """As `covering`, for places [T] between two samples or on one."""
        places = np.round(places, 6)
        sample = np.floor(places).astype(np.int64)
        share = (places - sample).astype(np.float32)[:, None]
        starts, offsets, weights = self.covering(sample)
        if not share.any():
            return starts, offsets, weights
        more_starts, more_offsets, more_weights = self.covering(np.minimum(sample + 1, self.last))
        return (
            np.concatenate([starts, more_starts], axis=1),
            np.concatenate([offsets, more_offsets], axis=1),
            np.concatenate([(1 - share) * weights, share * more_weights], axis=1),
        )

    def covering(self, sample: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The windows over each sample [T], as the first sample of each; its place in them; the share of their answers.

        Returns:
            Three arrays [T, K]. Where there are fewer windows than K, the heaviest is repeated without a share.
        """
        first, position = sample % self.series, sample // self.series
        spare, count = self._windows_from(first)
        last = np.maximum(count - 1, 1)
        apart = spare / last
        nearest = np.minimum(position // np.maximum(apart, 1), count - 1)
        number = nearest[:, None] + np.arange(2 - _MOST_WINDOWS_OVER_A_SAMPLE, 2)
        start = np.rint(number * apart[:, None]).astype(np.int64)
        offset = position[:, None] - start
        is_over = (number >= 0) & (number < count[:, None]) & (offset >= 0) & (offset < self.receptive_field)
        weights = np.where(is_over, np.minimum(offset + 1, self.receptive_field - offset), 0).astype(np.float32)
        heaviest = weights.argmax(axis=1)[:, None]
        start, offset = (
            np.where(is_over, values, np.take_along_axis(values, heaviest, axis=1)) for values in (start, offset)
        )
        is_needed = weights.any(axis=0)
        shares = weights / weights.sum(axis=1, keepdims=True)
        starts = first[:, None] + self.series * start
        return starts[:, is_needed], offset[:, is_needed], shares[:, is_needed]

    def samples(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples [W, N] of windows; the last of a series is repeated where that is shorter than a window."""
        first = (starts % self.series)[:, None]
        last = first + (self.last - first) // self.series * self.series
        samples: NDArray[np.int64] = np.minimum(starts[:, None] + self.series * np.arange(self.receptive_field), last)
        return samples

    def _windows_from(self, first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the series from these samples: samples that a single window leaves over, and number of windows."""
        spare = np.maximum((self.last - first) // self.series + 1 - self.receptive_field, 0)
        return spare, -(-spare // max(self.receptive_field // 2, 1)) + 1


def sample_phases(fps: float, rate_hz: float, stride: int, before: int, after: int) -> NDArray[np.int64]:
    """Where samples lie around a target when frames come at a constant rate.

    Args:
        before, after: how many samples are wanted on both sides of the target's own.
    Returns:
        [before + 1 + after] offsets in 1/PHASES_PER_FRAME of a frame; those of `plan_windows` for every target of such
        a sequence.
    """
    return _phases(np.arange(-before, after + 1) * stride / rate_hz * fps)


def neighbour_phases(fps: float, rate_hz: float) -> tuple[int, int]:
    """Where the samples before and after another one lie, which a smoothed one is the mean with; offsets from it, as
    those of `sample_phases`.
    """
    before, _, after = _phases_halves_up(np.array(_AROUND) / rate_hz * fps).tolist()
    return before, after


def plan_phases(phases: NDArray[np.int64]) -> WindowPlan:
    """Plan windows whose samples [T, N] are given as positions in 1/PHASES_PER_FRAME of a frame."""
    used, index = np.unique(phases, return_inverse=True)
    return _plan(used, index.reshape(phases.shape))


def plan_smoothed_phases(phases: NDArray[np.int64]) -> WindowPlan:
    """Plan windows whose samples are means of three; positions [T, N, 3], ascending, as in `plan_phases`.

    The first of the three must be the same wherever the second is.
    """
    second = phases[..., 1]
    reach = phases[..., 2] - second
    _, first, index = np.unique(second * (reach.max() + 1) + reach, return_index=True, return_inverse=True)
    return _plan(phases.reshape(-1, 3)[first], index.reshape(second.shape))


def _plan(used: NDArray[np.int64], index: NDArray[np.int64]) -> WindowPlan:
    lower, phase = np.divmod(used, PHASES_PER_FRAME)
    return WindowPlan(
        lower=lower,
        upper=lower + (phase > 0),
        weight=(phase / PHASES_PER_FRAME).astype(np.float32),
        index=index,
    )


def _phases(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    # Halves are made exact first, so that float noise does not round them now up, now down from target to target.
    return np.rint(np.round(positions * PHASES_PER_FRAME, 6)).astype(np.int64)


def _phases_halves_up(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    # Halves always go up, so that the distance to a neighbour is the same wherever the sample lies.
    return np.floor(np.round(positions * PHASES_PER_FRAME, 6) + 0.5).astype(np.int64)
