"""Average the poses of neighbouring frames of a live stream, for sequence-to-sequence lifters.

Each frame has a window of its own, and the windows of every second frame show the mirrored person. The answer for a
frame is the mean of its own pose and those of its neighbours, as it is in a finished clip: there, too, every second of
the overlapping windows is mirrored. So errors that change sides with the person cancel out (the papers' test-time
augmentation), detector jitter is averaged, and each frame still costs one window.

- A frame with later ones to wait for counts half, its two neighbours share the other half; own poses wait for one frame
  less, so that the answer waits as long as it should.
- The newest frame that a stream has, where no pose waits, has only earlier neighbours. A mean with the one before it
  would lag behind the motion, so a part of the change since the fourth frame before it is added.
- Where own poses do not wait at all, the newest sample of a smoothed window is the mean of its frame, twice, and an
  earlier one. So these poses are a third of a frame old, at the lifter's rate, and the shares make up for that.

Own poses are pure functions of the frames, as in `live_window`. A caller may keep the newest ones for the next frame
(`OwnPoses`); without them they are lifted once more, with the same result.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.coordinates import mirror
from poselift.lifting import Lifted, Prepared, as_lifted, mixed
from poselift.live_window import KeptFrames, LiveWindow
from poselift.overlapping_windows import Blend
from poselift.skeletons import Skeleton
from poselift.timed_window import TimedWindow

# Farther apart, frames are no longer neighbours: people move too much in between.
_NEIGHBOURS_S = 0.085
# The change of a pose is measured over four frames if they take no longer than this, else over two: over a longer time
# motion turns, over a shorter one jitter counts for more.
_CHANGE_S = 0.085
_CHANGE_FRAMES = 4


class OwnPoses(NamedTuple):
    """Own poses of consecutive frames of a stream.

    Attributes:
        first: frame index of the first one.
        rows: [O, J, D] outputs of the network for them, the mirrored person's mirrored back.
    """

    first: int
    rows: NDArray[np.float32]

    @property
    def stop(self) -> int:
        """Index of the next frame."""
        return self.first + len(self.rows)

    def newest(self) -> "OwnPoses":
        """Those that may be needed again."""
        rows = self.rows[-_CHANGE_FRAMES - 1 :].copy()  # not a part of what may be many more
        return OwnPoses(self.stop - len(rows), rows)


class Averages(NamedTuple):
    """Which own poses the answers for some targets are averaged from.

    Attributes:
        neighbours: [T, 3] frame indices.
        weights: [T, 3] float32; those of one target sum to 1.
    """

    neighbours: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def own(self) -> range:
        """The frames whose own poses are needed."""
        return range(int(self.neighbours.min()), int(self.neighbours.max()) + 1)

    def missing(self, known: OwnPoses | None) -> range:
        """The frames whose own poses are needed, without those that are known."""
        own = self.own
        if known is None or not known.first <= own.start <= known.stop:
            return own
        return range(min(known.stop, own.stop), own.stop)

    def completed(self, known: OwnPoses | None, lifted: OwnPoses) -> OwnPoses:
        """Own poses of all these frames: known ones, followed by those that were `missing`."""
        if known is None or not known.first <= lifted.first <= known.stop:
            return lifted
        return OwnPoses(known.first, np.concatenate([known.rows[: lifted.first - known.first], lifted.rows]))

    def poses(self, own: OwnPoses, imputed: NDArray[np.bool_]) -> Lifted:
        """The answers.

        Args:
            own: own poses of at least these frames.
            imputed: [T, J_out] as in `Lifted`.
        """
        blend = Blend(self.neighbours - own.first, self.weights, np.zeros(len(own.rows), np.bool_))
        return as_lifted(mixed(own.rows[:, None], blend), imputed)


@dataclass(frozen=True)
class AveragedWindow:
    """The windows of one sequence-to-sequence lifter over a stream.

    Attributes:
        own: the windows of own poses.
        lookahead: frames after the target that must arrive before it is answered; None for all in its window.
        frame_s: time from frame to frame; None where frames have times.
        lag_s: how old own poses are, seconds.
        source: the lifter's skeleton of keypoints.
    """

    own: LiveWindow | TimedWindow
    lookahead: int | None
    frame_s: float | None
    lag_s: float
    source: Skeleton

    @staticmethod
    def of(manifest: Manifest, fps: float | None, lookahead: int | None) -> "AveragedWindow":
        """The windows of an artifact's lifter.

        Args:
            fps: frame rate of the stream, Hz; None where frames have times.
            lookahead: frames to wait for; 0 for immediate poses, None for all frames after the target in the window.
        Raises:
            InvalidKeypoints: the lookahead is negative, or longer than the window.
        """
        window = _own_window(manifest, fps, lookahead)
        own = _own_window(manifest, fps, window.lookahead - 1) if window.lookahead else window
        lag_s = 1 / (3 * manifest.frame_rate_hz) if manifest.smoothed and own.lookahead == 0 else 0.0
        return AveragedWindow(own, window.lookahead, 1 / fps if fps else None, lag_s, manifest.source)

    @property
    def full_lookahead(self) -> int | None:
        """As that of the windows of own poses."""
        return self.own.full_lookahead

    @property
    def max_lookahead(self) -> int:
        """Largest number of frames to wait for."""
        return self.own.max_lookahead

    @property
    def needed_before(self) -> int:
        """Most frames before an arriving one that must be stored to answer its targets, now or at the end."""
        return self.own.needed_before + self._own_before

    @property
    def _waits(self) -> int:
        """Frames that a target waits for its next neighbour's own pose: one, or none without lookahead."""
        return 0 if self.lookahead == 0 else 1

    @property
    def _own_before(self) -> int:
        """Frames from the oldest own pose that the next target may need to the next own pose that becomes ready."""
        return self._waits + _CHANGE_FRAMES

    def needed_from(self, first: int, kept: KeptFrames) -> int:
        """Index of the oldest frame that is needed to answer the targets that a frame completes, or any later one.

        Args:
            first: index of that frame.
            kept: the frames before it.
        """
        before = first - self._own_before
        if self.lookahead is None:
            oldest = max(0, self.own.left_at(first, kept).start - self._own_before)
            kept_from = range(min(first, kept.stop), kept.start, -1)
            before = next((i for i in kept_from if self.own.left_at(i, kept).start <= oldest), kept.start)
        return self.own.needed_from(max(0, before), kept)

    def expected_windows(self, arriving: range) -> int:
        """How many windows these consecutive frames make ready, on average, where own poses are kept."""
        return self.own.expected_windows(arriving)

    def completed_by(self, arriving: range, kept: KeptFrames) -> range:
        """The targets whose poses become ready with these consecutive frames, which are among the stored ones."""
        own = self.own.completed_by(arriving, kept)
        return range(max(0, own.start - self._waits), max(0, own.stop - self._waits))

    def left_at(self, frames: int, kept: KeptFrames) -> range:
        """The targets without a pose when the stream ends after this number of frames, all that are stored."""
        return range(max(0, self.own.left_at(frames, kept).start - self._waits), frames)

    def future_frames(self, targets: range, kept: KeptFrames) -> list[int]:
        """The number of later frames that each target uses, of those that are stored."""
        last = [min(target + self._waits, kept.stop - 1) for target in targets]
        future = self.own.future_frames(range(last[0], last[-1] + 1), kept)
        return [future[index - last[0]] + index - target for target, index in zip(targets, last, strict=True)]

    def averages(self, kept: KeptFrames, targets: range) -> Averages:
        """Which own poses the answers are averaged from.

        Args:
            targets: consecutive frame indices, not empty, from `completed_by` or `left_at`.
        """
        gaps_s = self._gaps_s(kept, targets)
        shares = [
            _shares(self._waits and target + 1 < kept.stop, *gaps_s[row : row + _CHANGE_FRAMES + 1], lag_s=self.lag_s)
            for row, target in enumerate(targets)
        ]
        offsets, weights = (np.array(part) for part in zip(*shares, strict=True))
        return Averages(np.arange(targets.start, targets.stop)[:, None] + offsets, weights.astype(np.float32))

    def prepare_own(self, kept: KeptFrames, frames: range) -> Prepared:
        """Build the windows of own poses.

        Args:
            frames: consecutive frame indices, not empty, from `Averages`.
        """
        prepared = self.own.prepare(kept, frames)
        gaps_s = self._gaps_s(kept, frames)[_CHANGE_FRAMES - 1 :][: len(frames)]
        mirrored = (np.asarray(frames) % 2 == 1) & (np.asarray(gaps_s) <= _NEIGHBOURS_S)
        blend = prepared.blend or Blend(
            np.arange(len(frames))[:, None], np.ones((len(frames), 1), np.float32), mirrored
        )
        prepared = replace(prepared, blend=replace(blend, mirrored=mirrored))
        if not mirrored.any():
            return prepared
        if mirrored.all():
            return replace(prepared, frames=mirror(prepared.frames, self.source))
        both = np.concatenate([prepared.frames, mirror(prepared.frames, self.source)])
        used, index = np.unique(prepared.index + len(prepared.frames) * mirrored[:, None], return_inverse=True)
        return replace(prepared, frames=both[used], index=index.reshape(prepared.index.shape))

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        """Build the windows of all own poses that targets need, and what their outputs are averaged to.

        Args:
            targets: consecutive frame indices, not empty, from `completed_by` or `left_at`.
        """
        averages = self.averages(kept, targets)
        own = averages.own
        prepared = self.prepare_own(kept, own)
        assert prepared.blend is not None
        rows = prepared.blend.rows[averages.neighbours - own.start, 0]
        imputed = prepared.imputed[targets.start - own.start :][: len(targets)]
        return replace(prepared, imputed=imputed, blend=replace(prepared.blend, rows=rows, weights=averages.weights))

    def _gaps_s(self, kept: KeptFrames, frames: range) -> Items[float]:
        """Times [F + 4] from each frame to the next: from the fourth before the first to the one after the last.

        Infinite where there is no such frame.
        """
        before, after = frames.start - _CHANGE_FRAMES, frames.stop + 1
        if self.frame_s is not None:
            known = range(max(0, before), min(after, kept.stop))
            gaps_s = [self.frame_s] * (len(known) - 1)
        else:
            assert kept.times_s is not None, "the frames have times"
            known = range(max(kept.start, before), min(after, kept.stop))
            gaps_s = np.diff(kept.times_s[known.start - kept.start : known.stop - kept.start]).tolist()
        return [np.inf] * (known.start - before) + gaps_s + [np.inf] * (after - known.stop)


@lru_cache(maxsize=1024)
def _shares(waits: bool, *gaps_s: float, lag_s: float) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Offsets of the frames that a target's answer is averaged from, and their weights.

    Args:
        waits: whether there is a next frame, for which the target waits.
        gaps_s: times from the fourth frame before the target to the third, and so on, and from the target to the next.
        lag_s: how old own poses are.
    """
    *_, before_last_s, last_s, next_s = gaps_s
    if waits and max(last_s, next_s) <= _NEIGHBOURS_S:
        share = (lag_s + last_s / 2) / (last_s + next_s)
        return (-1, 0, 1), (0.5 - share, 0.5, share)
    if max(before_last_s, last_s) <= _NEIGHBOURS_S:
        far_s = sum(gaps_s[:-1])
        frames, change_s = (_CHANGE_FRAMES, far_s) if far_s <= _CHANGE_S else (2, before_last_s + last_s)
        share = (lag_s + last_s / 2) / change_s
        return (-frames, -1, 0), (-share, 0.5, 0.5 + share)
    return (0, 0, 0), (0.0, 1.0, 0.0)


def stream_window(
    manifest: Manifest, fps: float | None, lookahead: int | None
) -> LiveWindow | TimedWindow | AveragedWindow:
    """The windows of an artifact's lifter over a live stream; for the arguments see `AveragedWindow.of`.

    Raises:
        InvalidKeypoints: the lookahead is negative, or longer than the window.
    """
    if manifest.sequence_to_sequence:
        return AveragedWindow.of(manifest, fps, lookahead)
    return _own_window(manifest, fps, lookahead)


def _own_window(manifest: Manifest, fps: float | None, lookahead: int | None) -> LiveWindow | TimedWindow:
    return TimedWindow.of(manifest, lookahead) if fps is None else LiveWindow.of(manifest, fps, lookahead)
