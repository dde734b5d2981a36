"""Lifting a stream while it comes in: which poses are ready when a frame arrives, and the windows they are lifted from.

Everything here is a pure function of the frames; where they are kept between two calls is the caller's business.
With the full lookahead the windows are those of the finished sequence. With less, the newest frame that a pose may
see stands for all that come after it.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from poselift.artifact import Manifest
from poselift.errors import InvalidKeypoints
from poselift.lifting import Prepared, Sequence, fill_unseen, hold_last_seen, screen_frames
from poselift.windows import PHASES_PER_FRAME, WindowPlan, plan_phases, window_phases


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
        phases: [N] offsets of its samples from the target, in 1/PHASES_PER_FRAME of a frame.
        lookahead: frames after the target that have to arrive before it is lifted.
        fills_unseen: whether joints that were never seen need a place, because the lifter has no token for them.
    """

    phases: NDArray[np.int64]
    lookahead: int
    fills_unseen: bool

    @staticmethod
    def of(manifest: Manifest, fps: float, lookahead: int | None) -> "LiveWindow":
        """Args:
            lookahead: 0 for poses at once, up to all the frames after the target in the window, which None stands for.
        Raises:
            InvalidKeypoints: the lookahead is negative, or longer than the window reaches.
        """
        rate_hz, stride, samples = manifest.frame_rate_hz, manifest.temporal_stride, manifest.network["frames"]
        window = _window(fps, rate_hz, stride, samples, lookahead, manifest.missing_joints == "hold")
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
        """Frames after the target that the window reaches; with so many the poses are those of the finished clip."""
        return math.ceil(int(self.phases[-1]) / PHASES_PER_FRAME)

    @cached_property
    def lookback(self) -> int:
        """Frames before the target that the window reaches."""
        return math.ceil(-int(self.phases[0]) / PHASES_PER_FRAME)

    @cached_property
    def needed_before(self) -> int:
        """Frames before an arriving one that are needed to lift what it completes."""
        return self.lookahead + self.lookback

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
        if len(targets) == 1 and self.lookback <= targets.start < kept.stop - self.lookahead:
            plan, first = self._plan_amid_frames, place - self.lookback
        else:
            plan, first = self._plan(targets, kept), 0
        assert min(first, plan.lower[0]) >= 0, "frames that are needed have been dropped"
        frames = np.ascontiguousarray(plan.sample(screen[first:]), dtype=np.float32)
        return Prepared(frames, plan.index, imputed)

    def _plan(self, targets: range, kept: KeptFrames) -> WindowPlan:
        target = np.arange(targets.start, targets.stop)[:, None]
        newest = np.minimum(target + self.lookahead, kept.stop - 1)
        phases = np.clip(target * PHASES_PER_FRAME + self.phases, 0, newest * PHASES_PER_FRAME)
        return plan_phases(phases - kept.start * PHASES_PER_FRAME)

    @cached_property
    def _plan_amid_frames(self) -> WindowPlan:
        """The window of one target over frames from `lookback` before it on: the same for all but the first and last
        targets of a stream, so it is made once."""
        phases = np.minimum(self.phases, self.lookahead * PHASES_PER_FRAME)[None]
        return plan_phases(phases + self.lookback * PHASES_PER_FRAME)


@lru_cache(maxsize=256)
def _window(
    fps: float, rate_hz: float, stride: int, samples: int, lookahead: int | None, fills_unseen: bool
) -> LiveWindow:
    """The window of `LiveWindow.of`, one for all streams of a kind."""
    phases = window_phases(fps, rate_hz, stride, samples)
    full = math.ceil(int(phases[-1]) / PHASES_PER_FRAME)
    return LiveWindow(phases, full if lookahead is None else lookahead, fills_unseen)


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
