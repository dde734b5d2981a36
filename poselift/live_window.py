"""Lift a live stream: which poses are ready when frames arrive, and the windows that they are lifted from.

All functions are pure functions of the frames; the caller stores the frames between two calls.

A lifter that predicts the middle frame of its window gets a window around each target. With the full lookahead these
are the windows of the finished sequence. With less, the newest frame that a pose may use is repeated in place of all
later ones.

A sequence-to-sequence lifter can predict any frame of its window. It gets the window that ends with the newest frame
that a pose may use, so it needs no future frames. With the largest lookahead, half a window, the pose comes from the
middle of the window; for a finished sequence it is averaged from several windows, as in `block_window`. If it can
answer for the target alone, it gets the samples of `live_samples`, which reach farther back, in their order.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidKeypoints
from poselift.lifting import Prepared, screen_frames
from poselift.live_samples import live_distances, live_reach
from poselift.missing import fill_unseen, hold_last_seen
from poselift.overlapping_windows import Blend, own_outputs
from poselift.sequence import Sequence
from poselift.windows import (
    PHASES_PER_FRAME,
    WindowPlan,
    neighbour_phases,
    plan_phases,
    plan_smoothed_phases,
    sample_phases,
)


@dataclass(frozen=True)
class KeptFrames:
    """The newest frames of a stream, as far back as later poses need them.

    Attributes:
        start: frame index of the first one.
        screen: [F, J_in, 2] float32 screen coordinates, and rows of what is known, for a lifter that takes them; NaN
            where a joint is missing. For a lifter without a mask token, missing joints keep their last seen position,
            and are NaN only until they are first seen.
        imputed: [F, J_out] as in `Lifted`.
        times_s: [F] increasing, seconds from any origin; None in a stream of constant frame rate.
    """

    start: int
    screen: NDArray[np.float32]
    imputed: NDArray[np.bool_]
    times_s: NDArray[np.float64] | None = None

    @staticmethod
    def none(manifest: Manifest, *, timed: bool = False) -> "KeptFrames":
        """No frames: the state of a new stream, whose frames have times of their own if it is timed."""
        screen = np.zeros((0, *manifest.frame_shape), np.float32)
        imputed = np.zeros((0, manifest.target.n_joints), np.bool_)
        return KeptFrames(0, screen, imputed, np.zeros(0) if timed else None)

    @property
    def stop(self) -> int:
        """Index of the next frame to arrive."""
        return self.start + len(self.screen)

    def since(self, frame_index: int) -> "KeptFrames":
        """These frames without those before a frame index."""
        dropped = frame_index - self.start
        if dropped <= 0:
            return self
        times_s = None if self.times_s is None else self.times_s[dropped:]
        return KeptFrames(self.start + dropped, self.screen[dropped:], self.imputed[dropped:], times_s)

    def until(self, frame_index: int) -> "KeptFrames":
        """These frames without those from a frame index on."""
        number = max(0, frame_index - self.start)
        times_s = None if self.times_s is None else self.times_s[:number]
        return KeptFrames(self.start, self.screen[:number], self.imputed[:number], times_s)

    def followed_by(self, newer: "KeptFrames") -> "KeptFrames":
        """These frames followed by newer ones; in an overlap, these frames are kept."""
        rest = newer.since(self.stop)
        assert rest.start == self.stop, f"frames {self.stop} to {rest.start} are missing"
        if not len(rest.screen):
            return self
        screen, imputed = np.concatenate([self.screen, rest.screen]), np.concatenate([self.imputed, rest.imputed])
        times_s = self.times_s
        if times_s is not None:
            assert rest.times_s is not None
            times_s = np.concatenate([times_s, rest.times_s])
        return KeptFrames(self.start, screen, imputed, times_s)


class OwnAnswers(NamedTuple):
    """How the targets' own poses are found, as in `Prepared`."""

    blend: Blend | None
    ahead: NDArray[np.int64] | None


@dataclass(frozen=True)
class WindowKind:
    """Which samples around a target the windows of one lifter have.

    Attributes:
        samples: samples of a window, N.
        sequence_to_sequence: whether windows end with the newest frame, not half a window after their target.
        lifts_targets: whether the lifter answers for the target alone, from samples in the order of `live_samples`.
    """

    samples: int
    sequence_to_sequence: bool
    lifts_targets: bool

    @staticmethod
    def of(manifest: Manifest) -> "WindowKind":
        """The kind of windows of an artifact's lifter."""
        return WindowKind(int(manifest.network["frames"]), manifest.sequence_to_sequence, manifest.lifts_targets)

    @property
    def before(self) -> int:
        """How far before a target the first sample of any window lies, in samples."""
        if self.lifts_targets:
            return live_reach(self.samples)
        return self.samples - 1 if self.sequence_to_sequence else (self.samples - 1) // 2

    @property
    def after(self) -> int:
        """How far after a target the last sample of any window lies, in samples."""
        return self.samples // 2

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Where the samples of each kind of window [A, N] lie among all before and after a target."""
        if self.lifts_targets:
            return self.before + live_distances(self.samples)
        return np.arange(self.before + self.after - self.samples + 2)[:, None] + np.arange(self.samples)

    @cached_property
    def earliest(self) -> NDArray[np.int64]:
        """The first of the samples of each window, [A]."""
        earliest: NDArray[np.int64] = self.places.min(axis=1)
        return earliest

    def ahead(self, present: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the windows targets have, [T], given how many samples there are from the earliest on, [T].

        A sequence-to-sequence lifter has one for each number of samples after the target.
        """
        ahead: NDArray[np.int64] = np.clip(present - self.before - 1, 0, len(self.places) - 1)
        return ahead

    def own_answers(self, ahead: NDArray[np.int64]) -> OwnAnswers:
        """How the targets' own poses are found, given which windows they have, [T]."""
        if self.lifts_targets:
            return OwnAnswers(None, ahead)
        return OwnAnswers(own_outputs(ahead, self.samples, self.before + 1 + self.after), None)


@dataclass(frozen=True)
class LiveWindow:
    """The window of one lifter over a stream of constant frame rate.

    Attributes:
        kind: which samples it has.
        phases: offsets of samples from the target, in 1/PHASES_PER_FRAME of a frame: [N], those of a window around it;
            or, for a sequence-to-sequence lifter, those of all windows, from the one that ends at the target to the one
            that has it in its middle.
        lookahead: frames after the target that must arrive before it is lifted.
        fills_unseen: whether joints that were never seen are placed at the mean of the others, because the lifter has
            no mask token.
        neighbours: offsets from a smoothed sample to the positions before and after it that are averaged with it; None
            without smoothing.
    """

    kind: WindowKind
    phases: NDArray[np.int64]
    lookahead: int
    fills_unseen: bool
    neighbours: tuple[int, int] | None

    @staticmethod
    def of(manifest: Manifest, fps: float, lookahead: int | None) -> "LiveWindow":
        """The window of an artifact's lifter.

        Args:
            fps: frame rate of the stream, Hz.
            lookahead: frames to wait for; 0 for immediate poses, None for all frames after the target in the window.
        Raises:
            InvalidKeypoints: the lookahead is negative, or longer than the window.
        """
        kind = WindowKind.of(manifest)
        fills_unseen = manifest.missing_joints == "hold"
        rate_hz, stride = manifest.frame_rate_hz, manifest.temporal_stride
        window = _window(fps, rate_hz, stride, kind, lookahead, fills_unseen, manifest.smoothed)
        full = window.full_lookahead
        if not 0 <= window.lookahead <= full:
            raise InvalidKeypoints(
                f"The lookahead must be 0 to {full} frames for {manifest.name} at {fps:g} frames per second, "
                f"not {lookahead}.",
                path="lookahead",
            )
        return window

    @cached_property
    def full_lookahead(self) -> int:
        """Number of frames after the target in a window around it."""
        return _full_lookahead(self.phases, self.neighbours)

    @property
    def max_lookahead(self) -> int:
        """Largest number of frames to wait for."""
        return self.full_lookahead

    @cached_property
    def needed_before(self) -> int:
        """Frames before an arriving one that must be stored to lift its targets, now or at the end of the stream."""
        future = np.arange(self.lookahead + 1)
        return int((future + self._lookback(future)).max())

    def _lookback(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames before a target in its window, [T], given the number of frames that it has after it, [T]."""
        reach, _ = self.neighbours or (0, 0)
        earliest = self.phases[self.kind.earliest[self._ahead(future)]]
        frames: NDArray[np.int64] = -((earliest + reach) // PHASES_PER_FRAME)
        return frames

    def _ahead(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """As `WindowKind.ahead`, [T], given the number of frames that each target has after it, [T]."""
        return self.kind.ahead(np.searchsorted(self.phases, future * PHASES_PER_FRAME, side="right"))

    def _window_phases(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """Offsets of the windows' samples, [T, N], given the number of frames that each target has after it, [T]."""
        phases = self.phases[self.kind.places[self._ahead(future)]]
        clamped: NDArray[np.int64] = np.minimum(phases, future[:, None] * PHASES_PER_FRAME)
        return clamped

    def needed_from(self, first: int, kept: KeptFrames) -> int:
        """Index of the oldest frame needed to lift the targets that a frame completes, or any later one.

        Args:
            first: index of that frame.
            kept: the frames before it; here, their number is enough. Negative: so many frames before the stream.
        """
        return first - self.needed_before

    def expected_windows(self, arriving: range) -> int:
        """How many windows these consecutive frames make ready."""
        return len(self.completed_by(arriving))

    def completed_by(self, arriving: range, kept: KeptFrames | None = None) -> range:
        """The targets whose poses become ready with these consecutive frames; the stored ones make no difference."""
        return range(max(0, arriving.start - self.lookahead), max(0, arriving.stop - self.lookahead))

    def left_at(self, frames: int, kept: KeptFrames | None = None) -> range:
        """The targets without a pose when the stream ends after this number of frames, whatever is stored."""
        return range(max(0, frames - self.lookahead), frames)

    def future_frames(self, targets: range, kept: KeptFrames) -> list[int]:
        """The number of later frames that each target uses, of those that are stored."""
        return [min(target + self.lookahead, kept.stop - 1) - target for target in targets]

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        """Build the windows of targets over the stored frames.

        A target uses at most `lookahead` later frames, however many have arrived, so its pose does not depend on
        whether frames came one by one or several at a time. Before the first stored frame there is nothing: usually the
        stream begins there, but a server of another version may have kept fewer frames.

        Args:
            targets: consecutive frame indices, not empty, from `completed_by` or `left_at`.
        """
        position = targets.start - kept.start
        imputed = kept.imputed[position : position + len(targets)]
        screen = fill_unseen(kept.screen) if self.fills_unseen else kept.screen
        steady = self._steady_state_plan
        if len(targets) == 1 and steady.lookback <= position and targets.start < kept.stop - self.lookahead:
            plan, answers, first = steady.plan, steady.answers, position - steady.lookback
        else:
            plan, answers, first = *self._plan(targets, kept), 0
        frames = np.ascontiguousarray(plan.sample(screen[first:]), dtype=np.float32)
        return Prepared(frames, plan.index, imputed, *answers)

    def _plan(self, targets: range, kept: KeptFrames) -> tuple[WindowPlan, OwnAnswers]:
        target = np.arange(targets.start, targets.stop)
        future = np.minimum(self.lookahead, kept.stop - 1 - target)
        position = target - kept.start
        latest = (position + future)[:, None] * PHASES_PER_FRAME
        phases = np.maximum(position[:, None] * PHASES_PER_FRAME + self._window_phases(future), 0)
        return self._plan_within(phases, latest), self.kind.own_answers(self._ahead(future))

    def _plan_within(self, phases: NDArray[np.int64], latest: NDArray[np.int64]) -> WindowPlan:
        """Plan windows with samples at phases [T, N]; smoothing does not reach beyond the stored frames.

        Args:
            latest: [T, 1] phase of the newest frame that each target may use.
        """
        if self.neighbours is None:
            return plan_phases(phases)
        before, after = self.neighbours
        three = (np.maximum(phases + before, 0), phases, np.minimum(phases + after, latest))
        return plan_smoothed_phases(np.stack(three, axis=-1))

    @cached_property
    def _steady_state_plan(self) -> "_SteadyStatePlan":
        future = np.array([self.lookahead])
        lookback = int(self._lookback(future)[0])
        phases = self._window_phases(future) + lookback * PHASES_PER_FRAME
        latest = (future + lookback)[:, None] * PHASES_PER_FRAME
        plan = self._plan_within(phases, latest)
        return _SteadyStatePlan(lookback, plan, self.kind.own_answers(self._ahead(future)))


class _SteadyStatePlan(NamedTuple):
    """The window of a target away from both ends of a stream, where all targets have the same one.

    Attributes:
        lookback: frames before the target in the window; the plan starts at the first of them.
    """

    lookback: int
    plan: WindowPlan
    answers: OwnAnswers


@lru_cache(maxsize=256)
def _window(
    fps: float,
    rate_hz: float,
    stride: int,
    kind: WindowKind,
    lookahead: int | None,
    fills_unseen: bool,
    smoothed: bool,
) -> LiveWindow:
    """The window of `LiveWindow.of`, shared by all streams with the same parameters."""
    phases = sample_phases(fps, rate_hz, stride, kind.before, kind.after)
    neighbours = neighbour_phases(fps, rate_hz) if smoothed else None
    full = _full_lookahead(phases, neighbours)
    return LiveWindow(kind, phases, full if lookahead is None else lookahead, fills_unseen, neighbours)


def _full_lookahead(phases: NDArray[np.int64], neighbours: tuple[int, int] | None) -> int:
    _, reach = neighbours or (0, 0)
    return math.ceil((int(phases[-1]) + reach) / PHASES_PER_FRAME)


def arriving_frames(sequence: Sequence, manifest: Manifest, first: int, before: KeptFrames) -> KeptFrames:
    """Convert arriving keypoints to frames to store, with their times where the stored frames have times.

    Args:
        first: frame index of the first one.
        before: the stored frames. For a lifter without a mask token, missing joints take their last position from the
            frame before the first one, if it is among them; the other frames are not used.
    Raises:
        InvalidKeypoints: as `screen_frames`.
    """
    frames = screen_frames(sequence, manifest)
    screen = frames.screen
    if manifest.missing_joints == "hold":
        is_kept = before.start < first <= before.stop
        screen = hold_last_seen(screen, before.screen[first - 1 - before.start] if is_kept else None)
    return KeptFrames(first, screen, frames.imputed, None if before.times_s is None else sequence.times_s)
