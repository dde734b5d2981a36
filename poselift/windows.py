"""Which moments of a sequence a lifter sees for each of its frames: one code trains and serves.

A window of N samples lies around its target frame, `stride / rate` seconds apart. At the artifact's own rate the
samples are frames (temporal downsampling, as in training); at any other rate they fall between frames and are
interpolated. Outside the sequence the first and the last frame are repeated, on both sides.
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
        lower, upper: [U] frames on both sides of each sample; equal where the sample is a frame.
        weight: [U] float32 in [0, 1), the share of `upper`.
        index: [T, N] rows of U, one row of it per target frame.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float32]
    index: NDArray[np.int64]

    def sample(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate frames [F, ...] at the samples, [U, ...]; a sample beside a missing (NaN) joint misses it too."""
        if self._falls_on_frames:
            return frames.take(self.lower, axis=0)
        weight = self.weight.reshape(-1, *(1,) * (frames.ndim - 1))
        return (1 - weight) * frames.take(self.lower, axis=0) + weight * frames.take(self.upper, axis=0)

    @cached_property
    def _falls_on_frames(self) -> bool:
        return np.array_equal(self.lower, self.upper)


def plan_windows(
    times_s: NDArray[np.float64],
    rate_hz: float,
    stride: int,
    receptive_field: int,
    targets: slice | NDArray[np.int64] = slice(None),
) -> WindowPlan:
    """Lay a window around each target frame of a sequence.

    Args:
        times_s: [F] strictly increasing times of the frames.
        rate_hz: frame rate the lifter was trained at.
        stride: frames at `rate_hz` between two samples of a window.
        receptive_field: samples per window, N.
        targets: the frames to lift, as a slice or as [T] indices.
    Returns:
        Rows of `index` in the order of the targets; samples beside the sequence repeat its first or last frame.
    """
    offsets_s = window_offsets(receptive_field, stride) / rate_hz
    sample_times_s = times_s[targets, None] + offsets_s
    # np.interp repeats the first and the last frame outside of the sequence: the edge padding.
    positions = np.interp(sample_times_s, times_s, np.arange(len(times_s), dtype=np.float64))
    return plan_phases(_phases(positions))


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
    spacing_s = stride / rate_hz
    frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else spacing_s
    series = max(1, math.ceil(spacing_s / frame_s - _SAME_TIME))
    step_s = spacing_s / series
    places = np.round((times_s - times_s[0]) / step_s, 6)  # of the frames, in samples
    samples = math.ceil(places[-1]) + 1
    windows, shares = _interleaved(samples, series, receptive_field)
    sample_blend = _blend_of_samples(windows, shares, samples)

    sample_times_s = times_s[0] + step_s * np.arange(samples)
    phases = _phases(np.interp(sample_times_s, times_s, np.arange(len(times_s), dtype=np.float64)))
    lower = np.floor(places[targets]).astype(np.int64)
    upper = np.minimum(lower + 1, samples - 1)
    share = (places[targets] - lower).astype(np.float32)[:, None]
    rows, weights = sample_blend.rows[lower], (1 - share) * sample_blend.weights[lower]
    if share.any():
        rows = np.concatenate([rows, sample_blend.rows[upper]], axis=1)
        weights = np.concatenate([weights, share * sample_blend.weights[upper]], axis=1)
    used, window = np.unique(rows // receptive_field, return_inverse=True)
    rows = window.reshape(rows.shape) * receptive_field + rows % receptive_field
    return plan_phases(phases[windows[used]]), Blend(rows, weights)


def _interleaved(samples: int, series: int, receptive_field: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Windows [W, N] over every `series`-th of the samples, from each start; and what each answer counts, [W, N]."""
    windows, shares = [], []
    triangle = np.minimum(np.arange(1, receptive_field + 1), np.arange(receptive_field, 0, -1)).astype(np.float32)
    for first in range(min(series, samples)):
        length = -(-(samples - first) // series)
        spare = max(length - receptive_field, 0)
        count = math.ceil(spare / max(receptive_field // 2, 1)) + 1
        starts = np.rint(np.linspace(0, spare, count)).astype(np.int64)
        positions = starts[:, None] + np.arange(receptive_field)
        windows.append(first + series * positions.clip(max=length - 1))
        shares.append(np.where(positions < length, triangle, 0))  # a repeated last sample counts once
    return np.concatenate(windows), np.concatenate(shares)


def _blend_of_samples(windows: NDArray[np.int64], shares: NDArray[np.float32], samples: int) -> Blend:
    """The weighted mean of the answers that each sample has in all windows."""
    row = np.flatnonzero(shares)
    row = row[np.argsort(windows.ravel()[row], kind="stable")]
    sample = windows.ravel()[row]
    first, count = np.unique(sample, return_index=True, return_counts=True)[1:]
    place = np.arange(len(row)) - np.repeat(first, count)
    rows = np.repeat(row[first][:, None], count.max(), axis=1)  # places that stay empty repeat a row, with no weight
    weights = np.zeros((samples, int(count.max())), np.float32)
    rows[sample, place] = row
    weights[sample, place] = shares.ravel()[row]
    return Blend(rows, weights / weights.sum(axis=1, keepdims=True))


def window_phases(fps: float, rate_hz: float, stride: int, receptive_field: int) -> NDArray[np.int64]:
    """Where a window's samples lie around its target when frames come at a constant rate.

    Returns:
        [N] offsets in 1/PHASES_PER_FRAME of a frame; those of `plan_windows` for every target of such a sequence.
    """
    return _phases(window_offsets(receptive_field, stride) / rate_hz * fps)


def plan_phases(phases: NDArray[np.int64]) -> WindowPlan:
    """Plan windows whose samples [T, N] are given as positions in 1/PHASES_PER_FRAME of a frame."""
    used, index = np.unique(phases, return_inverse=True)
    lower, phase = np.divmod(used, PHASES_PER_FRAME)
    return WindowPlan(
        lower=lower,
        upper=lower + (phase > 0),
        weight=(phase / PHASES_PER_FRAME).astype(np.float32),
        index=index.reshape(phases.shape),
    )


def _phases(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    # Halves are made exact first, so that float noise does not round them now up, now down from target to target.
    return np.rint(np.round(positions * PHASES_PER_FRAME, 6)).astype(np.int64)
