"""Lift a live stream whose frames carry their times, because its rate wanders or frames are dropped.

As in `live_window`, all functions are pure functions of the frames, and the windows of a target are those of
`plan_windows` for the frames that it may use. What is a number of frames there is found from the times here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidKeypoints
from poselift.lifting import Prepared
from poselift.live_window import KeptFrames, WindowKind
from poselift.missing import fill_unseen
from poselift.windows import (
    PHASES_PER_FRAME,
    WindowPlan,
    neighbour_phases_at,
    phases_at,
    plan_phases,
    plan_smoothed_phases,
    times_at_phases,
)

MAX_RATE_HZ = 240
"""Most frames per second in a window, on average: so many of its frames must be stored."""

# Times that differ by less than this are equal: times of day in seconds are no more precise.
_SAME_TIME_S = 1e-6


@dataclass(frozen=True)
class TimedWindow:
    """The window of one lifter over a stream of frames with times.

    Attributes:
        kind: which samples it has.
        offsets_s: offsets of samples from the target, seconds, as the phases of `LiveWindow`.
        rate_hz: frame rate that the lifter was trained at.
        lookahead: frames after the target that must arrive before it is lifted; None for all in its window.
        fills_unseen: as in `LiveWindow`.
        smoothed: whether each sample is the mean of three positions.
    """

    kind: WindowKind
    offsets_s: NDArray[np.float64]
    rate_hz: float
    lookahead: int | None
    fills_unseen: bool
    smoothed: bool

    @staticmethod
    def of(manifest: Manifest, lookahead: int | None) -> "TimedWindow":
        """The window of an artifact's lifter; for the lookahead see the attribute.

        Raises:
            InvalidKeypoints: the lookahead is negative, or longer than the window at `MAX_RATE_HZ`.
        """
        kind = WindowKind.of(manifest)
        offsets = np.arange(-kind.before, kind.after + 1) * manifest.temporal_stride
        fills_unseen = manifest.missing_joints == "hold"
        rate_hz = manifest.frame_rate_hz
        window = TimedWindow(kind, offsets / rate_hz, rate_hz, lookahead, fills_unseen, manifest.smoothed)
        if lookahead is not None and not 0 <= lookahead <= window.max_lookahead:
            raise InvalidKeypoints(
                f"The lookahead must be 0 to {window.max_lookahead} frames for {manifest.name}, or full, "
                f"not {lookahead}.",
                path="lookahead",
            )
        return window

    @property
    def full_lookahead(self) -> None:
        """None: how many frames come within a window, only their times tell."""
        return None

    @property
    def full_lookahead_s(self) -> float:
        """Time after a target that its window reaches."""
        return float(self.offsets_s[-1]) + self._reach_s

    @property
    def max_lookahead(self) -> int:
        """Largest number of frames to wait for: what its window holds at `MAX_RATE_HZ`."""
        return math.ceil(self.full_lookahead_s * MAX_RATE_HZ)

    @property
    def _reach_s(self) -> float:
        return 1 / self.rate_hz if self.smoothed else 0.0

    @cached_property
    def needed_before(self) -> int:
        """Most frames before an arriving one that must be stored to lift its targets, at `MAX_RATE_HZ` on average."""
        before_s, ahead = self._reach_s - float(self.offsets_s[0]), self.lookahead or 0
        if self.lookahead is None:
            before_s += self.full_lookahead_s
        return math.ceil(before_s * MAX_RATE_HZ) + ahead + 2

    def needed_from(self, first: int, kept: KeptFrames) -> int:
        """Index of the oldest frame that is needed to lift the targets that a frame completes, or any later one.

        Args:
            first: index of that frame.
            kept: the frames before it; others are not used. The answer is beyond them if some that are needed are gone.
        """
        times_s = _times_of(kept)[: max(0, first - kept.start)]
        pending = min(self._first_at(first, kept.start, self._newest(times_s)), first - 1)
        if not kept.start <= pending:
            return max(0, pending)
        # The frame itself, if it is the oldest that waits, comes after the one before it.
        moment_s = times_s[pending - kept.start] + self.offsets_s[0]
        if moment_s >= times_s[0] - _SAME_TIME_S:
            moment_s = times_at_phases(times_s, phases_at(times_s, moment_s)) - self._reach_s
        oldest = int(np.searchsorted(times_s, moment_s + _SAME_TIME_S, side="right")) - 1
        return max(0, kept.start + oldest)

    def expected_windows(self, arriving: range) -> int:
        """How many windows these consecutive frames make ready, on average: one for each, or several after a gap."""
        return len(arriving)

    def completed_by(self, arriving: range, kept: KeptFrames) -> range:
        """The targets whose poses become ready with these consecutive frames, which are among the stored ones."""
        times_s = _times_of(kept)
        newest = self._newest(times_s)
        return range(*(self._first_at(index, kept.start, newest) for index in (arriving.start, arriving.stop)))

    def left_at(self, frames: int, kept: KeptFrames) -> range:
        """The targets without a pose when the stream ends after this number of frames, all that are stored."""
        return range(self._first_at(frames, kept.start, self._newest(_times_of(kept))), frames)

    def future_frames(self, targets: range, kept: KeptFrames) -> list[int]:
        """The number of later frames that each target uses."""
        position = _positions(targets, kept)
        newest = self._newest(_times_of(kept), position)
        future: list[int] = (np.minimum(newest, kept.stop - 1 - kept.start) - position).tolist()
        return future

    def _first_at(self, index: int, start: int, newest: NDArray[np.int64]) -> int:
        """The first target that is not ready before a frame arrives; it may be that frame itself."""
        if self.lookahead is not None:
            return max(0, index - self.lookahead)
        return start + int(np.searchsorted(newest[: index - start], index - start))

    def _newest(
        self, times_s: NDArray[np.float64], targets: slice | NDArray[np.int64] = slice(None)
    ) -> NDArray[np.int64]:
        """Position [T] of the newest frame that each target's pose uses; F or more where it has not arrived.

        Args:
            times_s: [F] of the stored frames.
            targets: positions among these.
        """
        if self.lookahead is not None:
            return np.arange(len(times_s))[targets] + self.lookahead
        ends_s = times_s[targets] + self.offsets_s[-1]
        newest: NDArray[np.int64] = np.searchsorted(times_s, ends_s - _SAME_TIME_S)
        if self.smoothed and len(times_s):
            ends_s = times_at_phases(times_s, phases_at(times_s, ends_s)) + self._reach_s
            smoothed = np.searchsorted(times_s, ends_s - _SAME_TIME_S)
            newest = np.where(newest < len(times_s), smoothed, newest)
        return newest

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        """Build the windows of targets over the stored frames.

        A target uses only frames up to the one that makes it ready, however many have arrived.

        Args:
            targets: consecutive frame indices, not empty, from `completed_by` or `left_at`.
        """
        times_s = _times_of(kept)
        position = _positions(targets, kept)
        newest = np.minimum(self._newest(times_s, position), len(times_s) - 1)
        ahead = self._ahead(times_s, position, newest)
        plan = self._plan(times_s, position, newest, ahead)
        screen = fill_unseen(kept.screen) if self.fills_unseen else kept.screen
        frames = np.ascontiguousarray(plan.sample(screen), dtype=np.float32)
        return Prepared(frames, plan.index, kept.imputed[position], *self.kind.own_answers(ahead))

    def _ahead(
        self, times_s: NDArray[np.float64], position: NDArray[np.int64], newest: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """As `WindowKind.ahead`, for targets [T] whose windows end with their newest frames."""
        # A sample less than half a phase behind the newest frame is at that frame.
        half_s = (times_s[newest] - times_s[np.maximum(newest - 1, 0)]) / (2 * PHASES_PER_FRAME)
        future_s = times_s[newest] - times_s[position] + half_s + _SAME_TIME_S
        return self.kind.ahead(np.searchsorted(self.offsets_s, future_s, side="right"))

    def _plan(
        self,
        times_s: NDArray[np.float64],
        position: NDArray[np.int64],
        newest: NDArray[np.int64],
        ahead: NDArray[np.int64],
    ) -> WindowPlan:
        latest = PHASES_PER_FRAME * newest[:, None]
        moments_s = times_s[position, None] + self.offsets_s[self.kind.places[ahead]]
        phases = np.minimum(phases_at(times_s, np.minimum(moments_s, times_s[newest, None])), latest)
        if not self.smoothed:
            return plan_phases(phases)
        before, after = neighbour_phases_at(times_s, phases, self.rate_hz)
        return plan_smoothed_phases(np.stack([before, phases, np.minimum(after, latest)], axis=-1))


def _positions(targets: range, kept: KeptFrames) -> NDArray[np.int64]:
    return np.arange(targets.start, targets.stop) - kept.start


def _times_of(kept: KeptFrames) -> NDArray[np.float64]:
    """Times of the stored frames, from the first of them on, so that times of day keep their precision."""
    assert kept.times_s is not None, "the stream has a constant frame rate"
    return kept.times_s - kept.times_s[:1]
