"""Windows: which samples of a sequence a lifter sees for each target frame. Training and serving share this code.

The N samples of a window lie around its target frame, `stride / rate` seconds apart. At the artifact's own frame rate
they are frames (temporal downsampling, as in training); at any other rate they fall between frames and are
interpolated. Beyond the ends of the sequence its first and last frame are repeated.

If the stride is larger than one frame, the windows of consecutive targets share no sample, so a detector's jitter
becomes jitter of the poses. For a smoothed artifact, each sample is therefore the mean of three: itself, and the
positions one frame (at the artifact's own rate) before and after it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Indices = TypeVar("Indices", NDArray[np.int64], torch.Tensor)

# Sample times are rounded to this fraction of a frame, so that windows of neighbouring targets share samples (and the
# work of the per-frame encoder). At 25, 30, 50 and 60 fps against 50 Hz this changes nothing; at other rates it moves a
# sample by at most a fortieth of a frame, less than a millisecond at 30 fps.
PHASES_PER_FRAME = 20
# Offsets of the three positions that are averaged for a smoothed sample, in frames at the artifact's rate.
SMOOTHING_OFFSETS = (-1, 0, 1)


def window_offsets(receptive_field: int, stride: int) -> NDArray[np.int64]:
    """Offsets of a window's samples from its target, in frames: stride * (-(N-1)/2 ... (N-1)/2), [N]."""
    return (np.arange(receptive_field, dtype=np.int64) - (receptive_field - 1) // 2) * stride


def window_indices(centres: Indices, offsets: Indices, last: Any) -> Indices:
    """Frame indices of the windows around `centres`; beyond the ends of the sequence its edge frames are repeated.

    Args:
        centres: [...] target frames.
        offsets: [N] from `window_offsets`, the same kind of array as `centres`.
        last: index of the last frame: a number, or an array [..., 1] for windows of several sequences.
    Returns:
        [..., N], each within 0 ... last.
    Source: P-STMO, temporal downsampling; the official loader does not pad the right side of short sequences.
    """
    return (centres[..., None] + offsets).clip(min=0).clip(max=last)


def chunk_indices(frames: int, receptive_field: int) -> NDArray[np.int64]:
    """Cut a sequence into consecutive windows; the last one ends with the sequence and may overlap the one before.

    Args:
        frames: length of the sequence, at least 1; if it is shorter than a window, its last frame is repeated.
    Returns:
        [W, N] frame indices.
    Source: MixSTE, official evaluation.
    """
    last = max(frames - receptive_field, 0)
    starts = np.append(np.arange(0, last, receptive_field, dtype=np.int64), last)
    return (starts[:, None] + np.arange(receptive_field)).clip(max=frames - 1)


@dataclass(frozen=True)
class WindowPlan:
    """The distinct samples of a set of windows, and the samples of each window.

    Attributes:
        lower, upper: [U] indices of the frames before and after each sample, equal if the sample is a frame; [U, 3] for
            smoothed samples, one column per averaged position.
        weight: like `lower`, float32 in [0, 1), the interpolation weight of `upper`.
        index: [T, N] indices of samples, one window per target frame.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float32]
    index: NDArray[np.int64]

    def sample(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate frames [F, ...] at the samples, [U, ...].

        A joint of a sample is missing (NaN) if it is missing in a frame that it is interpolated from; a smoothed sample
        averages the positions where the joint is not missing.
        """
        sampled = frames.take(self.lower, axis=0)
        if not self._samples_are_frames:
            weight = self.weight.reshape(*self.weight.shape, *(1,) * (frames.ndim - 1))
            sampled = (1 - weight) * sampled + weight * frames.take(self.upper, axis=0)
        return sampled if self.lower.ndim == 1 else _mean_of_present(sampled)

    @cached_property
    def _samples_are_frames(self) -> bool:
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
    """Place a window around each target frame of a sequence.

    Args:
        times_s: [F] strictly increasing times of the frames, seconds.
        rate_hz: frame rate that the lifter was trained at.
        stride: frames at `rate_hz` between two samples of a window.
        receptive_field: samples per window, N.
        targets: the frames to lift, as a slice or as [T] indices.
        smoothed: whether each sample is the mean of three positions.
    Returns:
        The plan, with the rows of `index` in the order of the targets.
    """
    offsets_s = window_offsets(receptive_field, stride) / rate_hz
    # Samples beyond the ends of the sequence are at its first and last frame: the edge padding.
    plan = plan_phases(phases_at(times_s, times_s[targets, None] + offsets_s))
    return smoothed_plan(plan, times_s, rate_hz) if smoothed else plan


def smoothed_plan(plan: WindowPlan, times_s: NDArray[np.float64], rate_hz: float) -> WindowPlan:
    """The same windows over smoothed samples."""
    # Weights are rounded to float32; the positions are whole, as they are for a stream.
    phases = plan.lower * PHASES_PER_FRAME + np.rint(plan.weight * PHASES_PER_FRAME).astype(np.int64)
    before, after = neighbour_phases_at(times_s, phases, rate_hz)
    return _plan(np.stack([before, phases, after], axis=-1), plan.index)


def _mean_of_present(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of samples [U, 3, ...] over the second axis, ignoring NaN; NaN if all three are."""
    total: NDArray[np.float32] = samples.sum(axis=1)
    if not np.isnan(total).any():
        return total / np.float32(samples.shape[1])
    present = ~np.isnan(samples)
    count = present.sum(axis=1, dtype=np.float32)
    with np.errstate(invalid="ignore"):  # without any, 0 / 0 is NaN
        mean: NDArray[np.float32] = np.where(present, samples, np.float32(0)).sum(axis=1) / count
    return mean


def sample_phases(fps: float, rate_hz: float, stride: int, before: int, after: int) -> NDArray[np.int64]:
    """Offsets of samples from a target at a constant frame rate.

    Args:
        fps: frame rate of the sequence, Hz.
        rate_hz, stride: as for `plan_windows`.
        before, after: number of samples before and after the target's own.
    Returns:
        [before + 1 + after] offsets in 1/PHASES_PER_FRAME of a frame, the same as those of `plan_windows`.
    """
    return _phases(np.arange(-before, after + 1) * stride / rate_hz * fps)


def neighbour_phases(fps: float, rate_hz: float) -> tuple[int, int]:
    """Offsets from a smoothed sample to the positions before and after it that are averaged with it.

    Returns:
        Two offsets in 1/PHASES_PER_FRAME of a frame, as those of `sample_phases`.
    """
    before, _, after = _phases_halves_up(np.array(SMOOTHING_OFFSETS) / rate_hz * fps).tolist()
    return before, after


def phases_at(times_s: NDArray[np.float64], moments_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of moments among frames, in 1/PHASES_PER_FRAME of a frame, the same as those of `plan_windows`.

    Args:
        times_s: [F] increasing times of the frames, seconds.
        moments_s: [...] seconds; those beyond the first or the last frame are at that frame.
    """
    return _phases(np.interp(moments_s, times_s, np.arange(len(times_s), dtype=np.float64)))


def times_at_phases(times_s: NDArray[np.float64], phases: NDArray[np.int64]) -> NDArray[np.float64]:
    """The moments [...] of positions [...]: the inverse of `phases_at`."""
    return np.interp(phases / PHASES_PER_FRAME, np.arange(len(times_s), dtype=np.float64), times_s)


def neighbour_phases_at(
    times_s: NDArray[np.float64], phases: NDArray[np.int64], rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions before and after samples at `phases` [...] that are averaged with these, as those of `plan_windows`."""
    frame_indices = np.arange(len(times_s), dtype=np.float64)
    moments_s = times_at_phases(times_s, phases)
    before, _, after = (
        _phases_halves_up(np.interp(moments_s + offset / rate_hz, times_s, frame_indices))
        for offset in SMOOTHING_OFFSETS
    )
    return before, after


def plan_phases(phases: NDArray[np.int64]) -> WindowPlan:
    """Plan windows with samples at positions [T, N], in 1/PHASES_PER_FRAME of a frame."""
    used, index = np.unique(phases, return_inverse=True)
    return _plan(used, index.reshape(phases.shape))


def plan_smoothed_phases(phases: NDArray[np.int64]) -> WindowPlan:
    """Plan windows with smoothed samples, from the three positions of each, [T, N, 3], ascending, as in `plan_phases`.

    Samples with the same second position must also have the same first position.
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
    # Rounded to three digits first, so that halves are not rounded up for one target and down for the next: neither by
    # float noise nor, up to 100 frames per second, because times of day in seconds are no more precise.
    return np.rint(np.round(positions * PHASES_PER_FRAME, 3)).astype(np.int64)


def _phases_halves_up(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    # Halves are rounded up, so that the distance to a neighbour does not depend on the position of the sample.
    return np.floor(np.round(positions * PHASES_PER_FRAME, 3) + 0.5).astype(np.int64)
