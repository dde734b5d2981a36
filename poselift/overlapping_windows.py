"""Overlapping windows, for lifters with a pose for every frame of a window, and how their outputs are blended."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.windows import SMOOTHING_OFFSETS, WindowPlan, phases_at, plan_phases, smoothed_plan

# Times that differ by less than this fraction of the sample spacing are equal.
_SAME_TIME = 1e-6
# Upper bound on interleaved series; targets of sequences with even denser frames are interpolated.
_MAX_SERIES = 1000
# Weights of the outputs at these three for a smoothed pose. Less to the sides than for samples, which are the input of
# a network: a pose in between would lag behind fast motion.
_OUTPUT_SHARES = np.array([0.25, 0.5, 0.25], np.float32)
# Neighbouring windows are at least a quarter of a window apart, unless there are only two.
_MAX_WINDOWS_PER_SAMPLE = 5


@dataclass(frozen=True)
class Blend:
    """How the poses of overlapping windows are averaged to one pose per target.

    Attributes:
        rows: [T, K] int64 indices into the outputs [W, N, ...] flattened to [W * N, ...].
        weights: [T, K] float32; those of one target sum to 1.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]

    def mix(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the outputs of windows, [W, N, ...], to [T, ...]."""
        flat = outputs.reshape(-1, *outputs.shape[2:])
        mixed: NDArray[np.float32] = np.einsum("tk,tk...->t...", self.weights, flat[self.rows])
        return mixed


def own_outputs(first: NDArray[np.int64], samples: int, places: int) -> Blend | None:
    """Selects each target's own pose from those of all samples of its window.

    Args:
        first: [T] where among the places of samples each window begins.
        samples: samples per window, N.
        places: number of places; N where all windows lie around their targets, whose poses are then the only outputs.
    """
    if places == samples:
        return None
    rows = np.arange(len(first)) * samples + samples - 1 - first
    return Blend(rows[:, None], np.ones((len(first), 1), np.float32))


def plan_overlapping_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
    *,
    smoothed: bool = False,
    smoothed_outputs: bool = False,
) -> tuple[WindowPlan, Blend]:
    """Cover a sequence with windows of a lifter that returns a pose for every frame of a window.

    Neighbouring windows overlap by half or more, and the weight of an output decreases towards the edge of its window,
    so that there are no visible seams. If the frames lie closer together than the samples of a window, several series
    of windows are interleaved; a target between two samples is interpolated from their outputs.

    Args:
        times_s, rate_hz, stride, receptive_field, targets, smoothed: as for `plan_windows`.
        smoothed_outputs: whether each pose is the weighted mean of the outputs at three times, those of the averaged
            positions of a smoothed sample. Neighbouring frames belong to different series of windows, so without it
            the differences between these appear as jitter.
    Returns:
        The windows [W, N] that the targets need, and how their outputs are averaged to poses of the targets.
    """
    series = _WindowSeries.over(times_s, rate_hz, stride, receptive_field)
    starts, offsets, weights = series.target_outputs(times_s, targets, rate_hz if smoothed_outputs else None)
    used, window = np.unique(starts, return_inverse=True)
    rows = window.reshape(starts.shape) * receptive_field + offsets
    sample_times_s = times_s[0] + series.step_s * series.samples(used)
    plan = plan_phases(phases_at(times_s, sample_times_s))
    return smoothed_plan(plan, times_s, rate_hz) if smoothed else plan, Blend(rows, weights)


def count_overlapping_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
    *,
    smoothed_outputs: bool = False,
) -> int:
    """Count the windows of `plan_overlapping_windows`; fast if they are fewer than the targets, as in most clips."""
    series = _WindowSeries.over(times_s, rate_hz, stride, receptive_field)
    if series.windows <= len(times_s[targets]):
        return series.windows
    return len(np.unique(series.target_outputs(times_s, targets, rate_hz if smoothed_outputs else None)[0]))


@dataclass(frozen=True)
class _WindowSeries:
    """Equidistant samples of a sequence, and interleaved series of overlapping windows over every `series`-th sample.

    No array grows with the duration of the sequence, because its frames may lie far apart in time.

    Attributes:
        step_s: time from one sample to the next.
        series: number of interleaved series of windows; each starts at one of the first samples.
        last: index of the last sample.
    """

    receptive_field: int
    step_s: float
    series: int
    last: int

    @staticmethod
    def over(times_s: NDArray[np.float64], rate_hz: float, stride: int, receptive_field: int) -> "_WindowSeries":
        spacing_s = stride / rate_hz
        frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else spacing_s
        series = math.ceil(min(max(spacing_s / frame_s - _SAME_TIME, 1), _MAX_SERIES))
        step_s = spacing_s / series
        return _WindowSeries(receptive_field, step_s, series, math.ceil(round((times_s[-1] - times_s[0]) / step_s, 6)))

    @property
    def windows(self) -> int:
        """Number of windows of all series."""
        return int(self._series_windows(np.arange(min(self.series, self.last + 1)))[1].sum())

    def target_outputs(
        self, times_s: NDArray[np.float64], targets: slice | NDArray[np.int64], smoothed_at_hz: float | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """As `covering`, for the frames that are targets [T].

        Args:
            times_s: [F] of the sequence that the series covers.
            smoothed_at_hz: the artifact's frame rate if outputs are smoothed, else None.
        """
        positions = (times_s[targets] - times_s[0]) / self.step_s
        if smoothed_at_hz is None:
            return self.outputs_at(positions)
        end = (times_s[-1] - times_s[0]) / self.step_s
        offsets = np.array(SMOOTHING_OFFSETS) / (smoothed_at_hz * self.step_s)
        parts = [self.outputs_at((positions + offset).clip(0, end)) for offset in offsets]
        starts, places, weights = zip(*parts, strict=True)
        weighted = [share * part for share, part in zip(_OUTPUT_SHARES, weights, strict=True)]
        return np.concatenate(starts, axis=1), np.concatenate(places, axis=1), np.concatenate(weighted, axis=1)

    def outputs_at(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """As `covering`, for positions [T] on samples or between two of them."""
        positions = np.round(positions, 6)
        sample = np.floor(positions).astype(np.int64)
        fraction = (positions - sample).astype(np.float32)[:, None]
        starts, offsets, weights = self.covering(sample)
        if not fraction.any():
            return starts, offsets, weights
        next_starts, next_offsets, next_weights = self.covering(np.minimum(sample + 1, self.last))
        return (
            np.concatenate([starts, next_starts], axis=1),
            np.concatenate([offsets, next_offsets], axis=1),
            np.concatenate([(1 - fraction) * weights, fraction * next_weights], axis=1),
        )

    def covering(self, sample: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The windows that cover each sample [T].

        Returns:
            Three arrays [T, K]: the first sample of each window, the offset of the sample within the window, and the
            weight of that output. If fewer than K windows cover a sample, the one with the largest weight is repeated
            with weight 0.
        """
        first, position = sample % self.series, sample // self.series
        spare, count = self._series_windows(first)
        last = np.maximum(count - 1, 1)
        spacing = spare / last
        nearest = np.minimum(position // np.maximum(spacing, 1), count - 1)
        number = nearest[:, None] + np.arange(2 - _MAX_WINDOWS_PER_SAMPLE, 2)
        start = np.rint(number * spacing[:, None]).astype(np.int64)
        offset = position[:, None] - start
        is_covering = (number >= 0) & (number < count[:, None]) & (offset >= 0) & (offset < self.receptive_field)
        weights = np.where(is_covering, np.minimum(offset + 1, self.receptive_field - offset), 0).astype(np.float32)
        heaviest = weights.argmax(axis=1)[:, None]
        start, offset = (
            np.where(is_covering, values, np.take_along_axis(values, heaviest, axis=1)) for values in (start, offset)
        )
        is_needed = weights.any(axis=0)
        normalised = weights / weights.sum(axis=1, keepdims=True)
        starts = first[:, None] + self.series * start
        return starts[:, is_needed], offset[:, is_needed], normalised[:, is_needed]

    def samples(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples [W, N] of windows; if a series is shorter than a window, its last sample is repeated."""
        first = (starts % self.series)[:, None]
        last = first + (self.last - first) // self.series * self.series
        samples: NDArray[np.int64] = np.minimum(starts[:, None] + self.series * np.arange(self.receptive_field), last)
        return samples

    def _series_windows(self, first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For series that start at these samples: the number of samples beyond a single window, and of windows."""
        spare = np.maximum((self.last - first) // self.series + 1 - self.receptive_field, 0)
        return spare, -(-spare // max(self.receptive_field // 2, 1)) + 1
