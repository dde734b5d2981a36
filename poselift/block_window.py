"""Lift a stream of constant rate with a sequence-to-sequence lifter at its full lookahead: poses come in blocks.

The windows are those of the finished sequence, so the poses are the same. They begin at fixed moments, half a window
apart. When a window is complete, the poses of half a window of frames become ready at once, and none until the next.

As in `live_window`, all functions are pure functions of the frames.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.lifting import Prepared, lay_windows
from poselift.live_window import KeptFrames
from poselift.missing import fill_unseen
from poselift.overlapping_windows import WindowGrid


@dataclass(frozen=True)
class BlockWindow:
    """The windows of one lifter over a stream.

    Attributes:
        fps: frame rate of the stream, Hz.
    """

    manifest: Manifest
    fps: float

    @property
    def lookahead(self) -> None:
        """None: which later frames a pose waits for depends on where in a block it lies."""
        return None

    @property
    def full_lookahead(self) -> int:
        """Most frames after a target that must arrive before it is lifted."""
        return math.ceil(self.full_lookahead_s * self.fps)

    @property
    def full_lookahead_s(self) -> float:
        """Longest time after a target that its windows reach."""
        return self._samples_s(self._window_samples + 2 * self.manifest.smoothed)

    @property
    def max_lookahead(self) -> int:
        """Largest number of frames to wait for."""
        return self.full_lookahead

    @property
    def needed_before(self) -> int:
        """Most frames before an arriving one that must be stored to lift its targets, now or at the end."""
        waiting, windows = self._window_samples * 3 // 2, self._window_samples
        return math.ceil(self._samples_s(waiting + windows + 6) * self.fps) + 2

    @property
    def _window_samples(self) -> int:
        """Samples of all interleaved series from the beginning of a window to its end."""
        return int(self.manifest.network["frames"]) * self.manifest.temporal_stride

    def _samples_s(self, samples: int) -> float:
        return samples / self.manifest.frame_rate_hz

    def needed_from(self, first: int, kept: KeptFrames) -> int:
        """Index of the oldest frame that is needed to lift the targets that a frame completes, or any later one.

        Args:
            first: index of that frame.
            kept: the frames before it; here, their number is enough. Negative: so many frames before the stream.
        """
        if first <= 0:
            return 0
        start_s = self._settled_s(np.array([0.0, (first - 1) / self.fps]))
        return max(0, min(first, math.floor((start_s - self._lookback_s) * self.fps)))

    @property
    def _lookback_s(self) -> float:
        """Longest time before a target that its windows reach, and what smoothing and interpolation add."""
        return self._samples_s(self._window_samples + 3)

    def expected_windows(self, arriving: range) -> int:
        """How many windows these consecutive frames make ready, on average."""
        return len(arriving)

    def completed_by(self, arriving: range, kept: KeptFrames) -> range:
        """The targets whose poses become ready with these consecutive frames, which are among the stored ones."""
        return range(*(self._ready_at(index, kept) for index in (arriving.start, arriving.stop)))

    def left_at(self, frames: int, kept: KeptFrames) -> range:
        """The targets without a pose when the stream ends after this number of frames, all that are stored."""
        return range(self._ready_at(frames, kept), frames)

    def future_frames(self, targets: range, kept: KeptFrames) -> list[int]:
        """The number of later frames that each target uses at most, of those that are stored."""
        times_s, newest = self._times_of(kept), kept.stop - 1
        position = np.arange(targets.start, targets.stop) - kept.start
        ends = np.searchsorted(times_s, times_s[position] + self.full_lookahead_s, side="right") - 1
        future: list[int] = (np.minimum(ends + kept.start, newest) - np.asarray(targets)).tolist()
        return future

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        """Build the windows of targets over the stored frames.

        Args:
            targets: consecutive frame indices, not empty, from `completed_by` or `left_at`.
        """
        screen = fill_unseen(kept.screen) if self.manifest.missing_joints == "hold" else kept.screen
        position = np.arange(targets.start, targets.stop) - kept.start
        return lay_windows(screen, kept.imputed, self._times_of(kept), self.manifest, position)

    def _ready_at(self, frames: int, kept: KeptFrames) -> int:
        """The first target that is not ready after this number of frames."""
        if frames <= 0:
            return 0
        times_s = self._times_of(kept)[: frames - kept.start]
        if not len(times_s):
            return min(frames, kept.start)
        return kept.start + int(np.searchsorted(times_s, self._settled_s(times_s)))

    def _settled_s(self, times_s: NDArray[np.float64]) -> float:
        """The moment up to which the poses of frames at these times [F] do not depend on later ones.

        It lies between two samples, so that rounding does not matter.
        """
        manifest = self.manifest
        grid = WindowGrid.over(
            times_s,
            manifest.frame_rate_hz,
            manifest.temporal_stride,
            int(manifest.network["frames"]),
            smoothed=manifest.smoothed,
        )
        # A target between two samples needs both, and one more on each side where outputs are smoothed.
        return grid.step_s * (grid.settled - 1 - manifest.smoothed) + grid.step_s * 1e-4

    def _times_of(self, kept: KeptFrames) -> NDArray[np.float64]:
        return np.arange(kept.start, kept.stop) / self.fps
