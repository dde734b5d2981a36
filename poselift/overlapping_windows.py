"""Overlapping windows, for lifters with a pose for every frame of a window, and how their outputs are blended."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.windows import SMOOTHING_OFFSETS, WindowPlan, phases_at, plan_phases, smoothed_plan

# Weights of the outputs at these three for a smoothed pose. Less to the sides than for samples, which are the input of
# a network: a pose in between would lag behind fast motion.
_OUTPUT_SHARES = np.array([0.25, 0.5, 0.25], np.float32)
# The outputs of a window fade in over a sixth of it, and out over another. Between, two neighbours count the same: the
# person and the mirrored person.
_FADES_PER_WINDOW = 6


@dataclass(frozen=True)
class Blend:
    """How the poses of overlapping windows are averaged to one pose per target.

    Attributes:
        rows: [T, K] int64 indices into the outputs [W, N, ...] flattened to [W * N, ...].
        weights: [T, K] float32; those of one target sum to 1.
        mirrored: [W] bool, the windows that show the mirrored person.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    mirrored: NDArray[np.bool_]

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
    return Blend(rows[:, None], np.ones((len(first), 1), np.float32), np.zeros(len(first), np.bool_))


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

    Neighbouring windows overlap by half or more, and the weight of an output decreases at the edges of its window, so
    that there are no visible seams. Every second window shows the mirrored person, so that a pose averages both as in
    the papers' tests, for no further windows. With a stride, several series of windows are interleaved, so that there
    is a sample at each frame of the artifact's own rate; a target between two samples is interpolated from their
    outputs.

    Args:
        times_s, rate_hz, stride, receptive_field, targets, smoothed: as for `plan_windows`.
        smoothed_outputs: whether each pose is the weighted mean of the outputs at three times, those of the averaged
            positions of a smoothed sample. Neighbouring frames belong to different series of windows, so without it
            the differences between these appear as jitter.
    Returns:
        The windows [W, N] that the targets need, and how their outputs are averaged to poses of the targets.
    """
    grid = WindowGrid.over(times_s, rate_hz, stride, receptive_field, smoothed=smoothed)
    starts, offsets, weights = grid.target_outputs(times_s[targets], smoothed=smoothed_outputs)
    used, window = np.unique(starts, return_inverse=True)
    rows = window.reshape(starts.shape) * receptive_field + offsets
    plan = plan_phases(phases_at(times_s, grid.sample_times_s(used)))
    blend = Blend(rows, weights, grid.shows_mirrored(used))
    return smoothed_plan(plan, times_s, rate_hz) if smoothed else plan, blend


def count_overlapping_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
    *,
    smoothed: bool = False,
    smoothed_outputs: bool = False,
) -> int:
    """Count the windows of `plan_overlapping_windows`; fast if they are fewer than the targets, as in most clips.

    Windows that lie in a gap between targets count as well, where there are more targets than windows.
    """
    grid = WindowGrid.over(times_s, rate_hz, stride, receptive_field, smoothed=smoothed)
    windows = grid.count(times_s[targets], smoothed=smoothed_outputs)
    if windows <= len(times_s[targets]):
        return windows
    return len(np.unique(grid.target_outputs(times_s[targets], smoothed=smoothed_outputs)[0]))


@dataclass(frozen=True)
class WindowGrid:
    """Samples at whole multiples of a time step, and interleaved series of windows over every `series`-th sample.

    Windows begin at whole multiples of half a window, whenever a sequence begins or ends, so that a stream has the
    windows of the finished sequence. Only the first and the last window of a series lie where the sequence does: they
    serve the samples that some regular window would cover with samples before its first or after its last frame.

    Samples are numbered from time zero on. No array grows with the duration of the sequence, because its frames may lie
    far apart in time.

    Attributes:
        step_s: time from one sample to the next.
        series: number of interleaved series of windows.
        reach: samples before and after each that are averaged with it.
        begin, end: where among the samples the first and the last frame lie. A sample beyond them is at that frame.
    """

    receptive_field: int
    step_s: float
    series: int
    reach: int
    begin: float
    end: float

    @staticmethod
    def over(
        times_s: NDArray[np.float64], rate_hz: float, stride: int, receptive_field: int, *, smoothed: bool
    ) -> "WindowGrid":
        """The grid of a sequence; the arguments are those of `plan_overlapping_windows`."""
        assert receptive_field > 1 or not smoothed, "a window of one sample has none for the frames at the end"
        begin, end = np.round(times_s[[0, -1]] * rate_hz, 6).tolist()
        return WindowGrid(receptive_field, 1 / rate_hz, stride, int(smoothed), begin, end)

    @property
    def first(self) -> int:
        """The sample at or before the first frame."""
        return math.floor(self.begin)

    @property
    def last(self) -> int:
        """The sample at or behind the last frame."""
        return math.ceil(self.end)

    @property
    def newest(self) -> int:
        """The last sample that needs no frame behind the last one."""
        return math.floor(self.end) - self.reach

    @property
    def hop(self) -> int:
        """Samples of a series from the beginning of one window to that of the next."""
        return max(self.receptive_field // 2, 1)

    @property
    def fade(self) -> int:
        """Samples at each edge of a window whose outputs count less than those of its neighbour."""
        return max(self.receptive_field // _FADES_PER_WINDOW, 1)

    @property
    def settled(self) -> int:
        """The first sample that later frames may still change, as windows that cover it are not complete."""
        newest, oldest = (self.newest - self.series + 1) // self.series, -(-self.first // self.series)
        last_start = (newest - self.receptive_field + 1) // self.hop * self.hop
        return self.first if last_start < oldest else (last_start + self.hop) * self.series

    def count(self, times_s: NDArray[np.float64], *, smoothed: bool) -> int:
        """Number of windows of all series with a sample that is needed; arguments as `target_outputs`."""
        positions = np.round(times_s / self.step_s, 6)
        reach = np.array(SMOOTHING_OFFSETS if smoothed else (0,))
        used = {
            int(series)
            for sample in (np.floor(positions), np.ceil(positions))
            for series in np.unique((np.unique(sample % self.series)[:, None] + reach) % self.series)
        }
        return sum(map(self._count_series, used))

    def _count_series(self, series: int) -> int:
        begin, end = -((series - self.first) // self.series), (self.last - series) // self.series
        if end < begin:
            return 0
        first_start = -(-begin // self.hop) * self.hop
        last_start = ((self.newest - series) // self.series - self.receptive_field + 1) // self.hop * self.hop
        at_end = max(end - self.receptive_field + 1, begin)
        if last_start < first_start:
            return 1 + (at_end > begin)
        regular = (last_start - first_start) // self.hop + 1
        return regular + (begin < first_start) + (at_end != last_start)

    def target_outputs(
        self, times_s: NDArray[np.float64], *, smoothed: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """As `covering`, for moments of the sequence, [T] seconds.

        Args:
            smoothed: whether each output is averaged with those one sample before and after it.
        """
        positions = np.round(times_s / self.step_s, 6)
        if not smoothed:
            return self._outputs_at(positions)
        offsets = np.array(SMOOTHING_OFFSETS)
        parts = [self._outputs_at((positions + offset).clip(self.first, self.last)) for offset in offsets]
        starts, places, weights = zip(*parts, strict=True)
        weighted = [share * part for share, part in zip(_OUTPUT_SHARES, weights, strict=True)]
        return np.concatenate(starts, axis=1), np.concatenate(places, axis=1), np.concatenate(weighted, axis=1)

    def _outputs_at(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """As `covering`, for positions [T] on samples or between two of them."""
        sample = np.floor(positions).astype(np.int64)
        lower, upper = np.maximum(sample, self.begin), np.minimum(sample + 1, self.end)
        fraction = np.where(upper > lower, (positions - lower) / np.maximum(upper - lower, 1e-9), 0)
        fraction = fraction.astype(np.float32)[:, None]
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
        length, hop = self.receptive_field, self.hop
        position, series = np.divmod(sample[:, None], self.series)
        begin, end = -((series - self.first) // self.series), (self.last - series) // self.series
        first_start = -(-begin // hop) * hop
        last_start = ((self.newest - series) // self.series - length + 1) // hop * hop
        regular = (position // hop - np.arange(-(-length // hop))) * hop
        is_regular = (regular >= first_start) & (regular <= last_start) & (position - regular < length)
        at_end = np.maximum(end - length + 1, begin)
        start = np.concatenate([regular, begin, at_end], axis=1)
        offset = position - start
        rank = np.minimum(offset + 1, length - offset)
        # The two windows that lie where the sequence does fade in where regular windows begin to be missing.
        limit = np.full_like(rank, length)
        limit[:, -2] = np.where(first_start <= last_start, first_start - hop + length - position, length)[:, 0]
        limit[:, -1] = np.where(first_start <= last_start, position - last_start - hop + 1, length)[:, 0]
        is_other = np.concatenate([begin < first_start, (at_end > begin) & (at_end != last_start)], axis=1)
        is_other[:, 0] |= (first_start > last_start)[:, 0]
        counts = np.concatenate([is_regular, is_other], axis=1) & (offset >= 0) & (offset < length)
        rank = np.where(counts, np.minimum(rank, limit), 0).clip(0, self.fade + 1)
        # Beside a neighbour of weight 1, the shares of the two rise and fall in equal steps to a half.
        weights = (rank / (2 * (self.fade + 1) - rank)).astype(np.float32)
        return self._chosen(start * self.series + series, offset, weights)

    def _chosen(
        self, starts: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Normalise weights [T, K]; windows of weight 0 become the heaviest one, so that none is lifted in vain."""
        heaviest = weights.argmax(axis=1)[:, None]
        starts, offsets = (
            np.where(weights > 0, values, np.take_along_axis(values, heaviest, axis=1)) for values in (starts, offsets)
        )
        is_needed = weights.any(axis=0)
        normalised = weights / weights.sum(axis=1, keepdims=True)
        return starts[:, is_needed], offsets[:, is_needed], normalised[:, is_needed]

    def shows_mirrored(self, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether windows, by their first samples [W], show the mirrored person: every second one of a series does."""
        mirrored: NDArray[np.bool_] = -(-(starts // self.series) // self.hop) % 2 == 1
        return mirrored

    def sample_times_s(self, starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Times [W, N] of the samples of windows; past the end of the sequence its last sample is repeated."""
        samples = starts[:, None] + self.series * np.arange(self.receptive_field)
        moments_s: NDArray[np.float64] = self.step_s * np.minimum(samples, self.last)
        return moments_s
