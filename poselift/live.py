"""Lifting a stream while it comes in: which poses are ready when a frame arrives, and the windows they are lifted from.

Everything here is a pure function of the frames; where they are kept between two calls is the caller's business.

A lifter that answers for the middle of its window gets a window around each frame. With the full lookahead the windows
are those of the finished sequence. With less, the newest frame that a pose may see stands for all that come after it.

A lifter that answers for whole windows can answer for any place in them. So it gets the window that ends with the
newest frame that a pose may see, and needs no frames that have not come. With the full lookahead, half a window, the
pose comes from the middle; of a finished sequence it is blended from several windows, which is close but not the same.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidKeypoints
from poselift.lifting import Prepared, Sequence, fill_unseen, hold_last_seen, screen_frames
from poselift.windows import (
    PHASES_PER_FRAME,
    Blend,
    WindowPlan,
    neighbour_phases,
    plan_phases,
    plan_smoothed_phases,
    sample_phases,
)


@dataclass(frozen=True)
class KeptFrames:
    """Consecutive frames of a stream: the newest ones, as far back as they are still needed.

    Attributes:
        start: frame index of the first one.
        screen: [F, J_in, 2] float32 screen coordinates. NaN where a joint is missing; for a lifter that has no token
            for those, where it was never seen up to that frame (elsewhere it is held).
        imputed: [F, J_out].
    """

    start: int
    screen: NDArray[np.float32]
    imputed: NDArray[np.bool_]

    @staticmethod
    def none(manifest: Manifest) -> "KeptFrames":
        """The frames of a stream that has just begun."""
        joints_in, joints_out = manifest.source.n_joints, manifest.target.n_joints
        return KeptFrames(0, np.zeros((0, joints_in, 2), np.float32), np.zeros((0, joints_out), np.bool_))

    @property
    def stop(self) -> int:
        """Frame index of the next frame to arrive."""
        return self.start + len(self.screen)

    def since(self, frame_index: int) -> "KeptFrames":
        """Without the frames before that one."""
        dropped = frame_index - self.start
        if dropped <= 0:
            return self
        return KeptFrames(self.start + dropped, self.screen[dropped:], self.imputed[dropped:])

    def followed_by(self, newer: "KeptFrames") -> "KeptFrames":
        """With newer frames at the end; those that are here already are taken from here."""
        rest = newer.since(self.stop)
        assert rest.start == self.stop, f"frames {self.stop} to {rest.start} are missing"
        if not len(rest.screen):
            return self
        return KeptFrames(
            self.start, np.concatenate([self.screen, rest.screen]), np.concatenate([self.imputed, rest.imputed])
        )


@dataclass(frozen=True)
class LiveWindow:
    """The window of one lifter over a stream of constant frame rate.

    Attributes:
        samples: N, of the window.
        phases: offsets of samples from the target, in 1/PHASES_PER_FRAME of a frame: [N], those of a window around it;
            or [N + N // 2], from a window that ends at the target on, for a lifter that answers for whole windows.
        lookahead: frames after the target that have to arrive before it is lifted.
        fills_unseen: whether joints that were never seen need a place, because the lifter has no token for them.
        neighbours: offsets from a sample to those before and after it that it is the mean with; None where it is not.
    """

    samples: int
    phases: NDArray[np.int64]
    lookahead: int
    fills_unseen: bool
    neighbours: tuple[int, int] | None

    @staticmethod
    def of(manifest: Manifest, fps: float, lookahead: int | None) -> "LiveWindow":
        """Args:
            lookahead: 0 for poses at once, up to all the frames after the target in the window, which None stands for.
        Raises:
            InvalidKeypoints: the lookahead is negative, or longer than the window reaches.
        """
        place = manifest.frame_rate_hz, manifest.temporal_stride, int(manifest.network["frames"])
        fills_unseen = manifest.missing_joints == "hold"
        window = _window(fps, *place, manifest.sequence_to_sequence, lookahead, fills_unseen, manifest.smoothed)
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
        """Frames after the target that a window around it reaches."""
        return _full_lookahead(self.phases, self.neighbours)

    @cached_property
    def needed_before(self) -> int:
        """Frames before an arriving one that are needed to lift what it completes, now or when the stream ends."""
        future = np.arange(self.lookahead + 1)
        return int((future + self._lookback(future)).max())

    def _lookback(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames before a target that its window reaches, [T], when so many after it have come, [T]."""
        reach, _ = self.neighbours or (0, 0)
        frames: NDArray[np.int64] = -((self.phases[self._first(future)] + reach) // PHASES_PER_FRAME)
        return frames

    def _first(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in `phases` the window of a target begins, [T], when so many frames after it have come, [T]."""
        ahead = np.searchsorted(self.phases, future * PHASES_PER_FRAME, side="right")
        return np.clip(ahead - self.samples, 0, len(self.phases) - self.samples)

    def _window_phases(self, future: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows [T, N] around targets, as offsets, when so many frames after each have come, [T]."""
        phases = self.phases[self._first(future)[:, None] + np.arange(self.samples)]
        seen: NDArray[np.int64] = np.minimum(phases, future[:, None] * PHASES_PER_FRAME)
        return seen

    def _blend(self, future: NDArray[np.int64]) -> Blend | None:
        """Each target's own answer out of those for all samples of its window."""
        if len(self.phases) == self.samples:
            return None
        place = self.samples - 1 - self._first(future)
        rows = np.arange(len(future)) * self.samples + place
        return Blend(rows[:, None], np.ones((len(future), 1), np.float32))

    def completed_by(self, arriving: range) -> range:
        """The targets whose poses are ready when these consecutive frames have arrived."""
        return range(max(0, arriving.start - self.lookahead), max(0, arriving.stop - self.lookahead))

    def left_at(self, frames: int) -> range:
        """The targets that are still without a pose when the stream ends after so many frames."""
        return range(max(0, frames - self.lookahead), frames)

    def future_frames(self, targets: range, frames: int) -> list[int]:
        """How many frames after itself each target sees, in a stream of so many frames so far."""
        return [min(target + self.lookahead, frames - 1) - target for target in targets]

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        """Lay the windows of some targets over the frames that are kept.

        A target sees `lookahead` frames after itself however many have arrived, so its pose does not depend on
        whether frames came one by one or several at a time.

        Args:
            targets: consecutive frame indices, not empty, as `completed_by` or `left_at` gave them.
        """
        place = targets.start - kept.start
        imputed = kept.imputed[place : place + len(targets)]
        screen = fill_unseen(kept.screen) if self.fills_unseen else kept.screen
        amid = self._amid_frames
        if len(targets) == 1 and amid.lookback <= targets.start < kept.stop - self.lookahead:
            plan, blend, first = amid.plan, amid.blend, place - amid.lookback
        else:
            plan, blend, first = *self._plan(targets, kept), 0
        assert min(first, int(plan.lower.flat[0])) >= 0, "frames that are needed have been dropped"
        frames = np.ascontiguousarray(plan.sample(screen[first:]), dtype=np.float32)
        return Prepared(frames, plan.index, imputed, blend)

    def _plan(self, targets: range, kept: KeptFrames) -> tuple[WindowPlan, Blend | None]:
        target = np.arange(targets.start, targets.stop)
        future = np.minimum(self.lookahead, kept.stop - 1 - target)
        place = target - kept.start
        earliest, latest = -kept.start * PHASES_PER_FRAME, (place + future)[:, None] * PHASES_PER_FRAME
        phases = np.maximum(place[:, None] * PHASES_PER_FRAME + self._window_phases(future), earliest)
        return self._plan_within(phases, earliest, latest), self._blend(future)

    def _plan_within(self, phases: NDArray[np.int64], earliest: int, latest: NDArray[np.int64]) -> WindowPlan:
        """Plan windows of samples at phases [T, N], none of which is the mean with anything outside of these bounds.

        Args:
            latest: [T, 1].
        """
        if self.neighbours is None:
            return plan_phases(phases)
        before, after = self.neighbours
        three = (np.maximum(phases + before, earliest), phases, np.minimum(phases + after, latest))
        return plan_smoothed_phases(np.stack(three, axis=-1))

    @cached_property
    def _amid_frames(self) -> "_AmidFrames":
        future = np.array([self.lookahead])
        lookback = int(self._lookback(future)[0])
        phases = self._window_phases(future) + lookback * PHASES_PER_FRAME
        latest = (future + lookback)[:, None] * PHASES_PER_FRAME
        return _AmidFrames(lookback, self._plan_within(phases, 0, latest), self._blend(future))


class _AmidFrames(NamedTuple):
    """The window of one target that is neither among the first nor among the last of a stream: made once for all.

    Attributes:
        lookback: frames before the target that it reaches; the plan is over the frames from there on.
    """

    lookback: int
    plan: WindowPlan
    blend: Blend | None


@lru_cache(maxsize=256)
def _window(
    fps: float,
    rate_hz: float,
    stride: int,
    samples: int,
    answers_whole: bool,
    lookahead: int | None,
    fills_unseen: bool,
    smoothed: bool,
) -> LiveWindow:
    """The window of `LiveWindow.of`, one for all streams of a kind."""
    before = samples - 1 if answers_whole else (samples - 1) // 2
    phases = sample_phases(fps, rate_hz, stride, before, after=samples // 2)
    neighbours = neighbour_phases(fps, rate_hz) if smoothed else None
    full = _full_lookahead(phases, neighbours)
    return LiveWindow(samples, phases, full if lookahead is None else lookahead, fills_unseen, neighbours)


def _full_lookahead(phases: NDArray[np.int64], neighbours: tuple[int, int] | None) -> int:
    _, reach = neighbours or (0, 0)
    return math.ceil((int(phases[-1]) + reach) / PHASES_PER_FRAME)


def arriving_frames(sequence: Sequence, manifest: Manifest, first: int, before: KeptFrames) -> KeptFrames:
    """Turn arriving keypoints into frames to keep.

    Args:
        first: frame index of the first one.
        before: the frames so far. For a lifter that holds missing joints, they are held from the frame before the
            first one, if that is among them; nothing else is looked at.
    Raises:
        InvalidKeypoints: as `screen_frames`.
    """
    frames = screen_frames(sequence, manifest)
    screen = frames.screen
    if manifest.missing_joints == "hold":
        is_kept = before.start < first <= before.stop
        screen = hold_last_seen(screen, before.screen[first - 1 - before.start] if is_kept else None)
    return KeptFrames(first, screen, frames.imputed)
