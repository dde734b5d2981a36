"""A request after validation, the same whichever transport it came over."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift.completion import MAX_POSITION_M, PoseSequence
from poselift.lifting import MAX_POSITION_PX, MAX_SCORE, Sequence
from poselift_service.errors import InvalidRequest

MIN_FPS, MAX_FPS = 0.1, 10_000.0
MAX_IMAGE_PX = 100_000
MAX_NAME_CHARACTERS = 256
MAX_TRACK_ID_CHARACTERS = 128

# Of what is known of a single person.
_FIELDS: dict[type, str] = {Sequence: "keypoints", PoseSequence: "poses"}

Timestamps = Items[float] | NDArray[np.float64]
Given = TypeVar("Given", Sequence, PoseSequence)
Written = TypeVar("Written")


@dataclass(frozen=True)
class Track(Generic[Given]):
    """What is known of one person; `track_id` is None in a request about a single person."""

    track_id: str | None
    sequence: Given


@dataclass(frozen=True)
class Request(Generic[Given]):
    """Whose poses are wanted, and how.

    Attributes:
        model: `name`, `name@version` or `name@label`; None for the server's default.
        targets: [T] increasing indices of the frames to answer with a pose, in every track; None for all.
        mirrored_average: also lift the mirrored person and average both; twice the work.
    """

    tracks: tuple[Track[Given], ...]
    model: str | None = None
    mirrored_average: bool = False
    targets: NDArray[np.int64] | None = None

    @property
    def frames(self) -> int:
        return sum(len(track.sequence.times_s) for track in self.tracks)

    @property
    def poses(self) -> int:
        """How many it is answered with."""
        return self.frames if self.targets is None else len(self.tracks) * len(self.targets)


LiftRequest = Request[Sequence]
"""Keypoints, which are to be lifted."""

CompleteRequest = Request[PoseSequence]
"""Poses with missing joints, which are to be completed."""


@dataclass(frozen=True)
class Limits:
    """How large one request may be."""

    frames: int
    tracks: int

    def check(self, request: Request[Given]) -> None:
        """Raise InvalidRequest when a request is larger."""
        first = request.tracks[0]
        path = _FIELDS[type(first.sequence)] if first.track_id is None else "tracks"
        self.check_counts(tracks=len(request.tracks), frames=request.frames, path=path)

    def check_counts(self, *, tracks: int, frames: int, path: str) -> None:
        """Raise InvalidRequest when these are more; `path` names the field with the frames."""
        if tracks > self.tracks:
            raise InvalidRequest(f"A request may hold at most {self.tracks} tracks, not {tracks}.", path="tracks")
        if frames > self.frames:
            raise InvalidRequest(f"A request may hold at most {self.frames} frames, not {frames}.", path=path)


def check_keypoints(keypoints: NDArray[np.floating], path: str, *, first: int = 0, of_frame: str = "") -> None:
    """Refuse values that cannot be detections.

    Args:
        keypoints: [F, J, 3] x and y in pixels, score; x and y NaN where a joint is missing.
        path: name of the field they came from, which has an entry for each frame.
        first: number of the first frame there.
        of_frame: which part of an entry they are.
    Raises:
        InvalidRequest: a position or a score is out of range; the path names the first one.
    """
    if (wrong := _first_beyond(keypoints, *_bounds(keypoints.shape[1]))) is None:
        return
    frame, joint, column = wrong
    allowed = f"a score lies in [0, {MAX_SCORE:g}]" if column == 2 else f"a position lies within {MAX_POSITION_PX:g} px"
    raise InvalidRequest(
        f"The value {keypoints[wrong]:g} cannot be used: {allowed}.",
        path=f"{path}[{frame + first}]{of_frame}[{joint}][{column}]",
    )


def check_poses(joints: NDArray[np.floating], path: str, *, first: int = 0) -> None:
    """As `check_keypoints`, for positions [F, J, 3] in metres, NaN where a joint is missing."""
    highest = np.full(3 * joints.shape[1], MAX_POSITION_M, np.float32)
    if (wrong := _first_beyond(joints, -highest, highest)) is None:
        return
    frame, joint, axis = wrong
    raise InvalidRequest(
        f"The value {joints[wrong]:g} cannot be used: a position lies within {MAX_POSITION_M:g} m.",
        path=f"{path}[{frame + first}][{joint}][{axis}]",
    )


def _first_beyond(
    values: NDArray[np.floating], lowest: NDArray[np.float32], highest: NDArray[np.float32]
) -> tuple[int, int, int] | None:
    """Where the first of values [F, J, 3] is that lies beyond bounds [3 J], if there is any."""
    numbers = values.reshape(-1, len(lowest))  # compared by threes, ten times slower
    # Written so that NaN, which stands for a missing joint, passes.
    wrong = (numbers < lowest) | (numbers > highest)
    if b"\1" not in wrong.tobytes():  # of few numbers, `any` takes longer than all the rest
        return None
    frame, joint, column = (int(place) for place in np.argwhere(wrong.reshape(values.shape))[0])
    return frame, joint, column


@lru_cache(maxsize=16)
def _bounds(joints: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest [3 J] that x, y and score of each joint may be."""
    lowest, highest = (-MAX_POSITION_PX, -MAX_POSITION_PX, 0), (MAX_POSITION_PX, MAX_POSITION_PX, MAX_SCORE)
    return np.array(lowest * joints, np.float32), np.array(highest * joints, np.float32)


def check_timing(fps: float | None, timestamps_s: Timestamps | None) -> None:
    """Refuse a request that does not say when its frames were, or says it twice, or lets time run backwards.

    Raises:
        InvalidRequest: the path names the field, or the first timestamp, at fault.
    """
    if (fps is None) == (timestamps_s is None):
        raise InvalidRequest("Either fps or timestamps_s must be given, and not both.", path="fps")
    if timestamps_s is not None and len(falls := np.flatnonzero(np.diff(timestamps_s) <= 0)):
        raise InvalidRequest("Timestamps must increase from frame to frame.", path=f"timestamps_s[{int(falls[0]) + 1}]")


def times_of(frames: int, fps: float | None, timestamps_s: Timestamps | None, path: str) -> NDArray[np.float64]:
    """Times [F] in seconds, from the timing that `check_timing` has passed.

    Args:
        path: name of the field that the frames came from.
    Raises:
        InvalidRequest: there is not one timestamp per frame.
    """
    if timestamps_s is None:
        assert fps is not None
        return Sequence.times_at(fps, frames)
    if len(timestamps_s) != frames:
        raise InvalidRequest(
            f"There must be one timestamp per frame: {path} has {frames}, timestamps_s {len(timestamps_s)}.",
            path="timestamps_s",
        )
    # From the first frame on, so that times of day keep their precision.
    return np.array(timestamps_s, dtype=np.float64) - timestamps_s[0]


def targets_of(targets: Items[int], tracks: Items[Track[Given]]) -> NDArray[np.int64] | None:
    """The frames [T] to answer, None for all, from the indices of a request; none given means all.

    Raises:
        InvalidRequest: they do not increase, or a track has no such frame; the path names the first at fault.
    """
    if len(targets) == 0:
        return None
    chosen = np.array(targets, dtype=np.int64)
    if len(falls := np.flatnonzero(np.diff(chosen) <= 0)):
        raise InvalidRequest("The targets must increase.", path=f"targets[{int(falls[0]) + 1}]")
    shortest = min(len(track.sequence.times_s) for track in tracks)
    if len(beyond := np.flatnonzero(chosen >= shortest)):
        first = int(beyond[0])
        raise InvalidRequest(
            f"There is no frame {chosen[first]} in every track: the shortest has {shortest}.", path=f"targets[{first}]"
        )
    return chosen


def tracks_of(
    name: str,
    single: Written | None,
    several: Items[tuple[str, Written]] | None,
    sequence: Callable[[Written, str], Given],
) -> tuple[Track[Given], ...]:
    """The people of a request.

    Args:
        name: of the field that holds what is known of a person.
        single: what it holds for the only person, if there is one.
        several: or, each with its name, for several.
        sequence: reads that; it is also given the path of the field.
    Raises:
        InvalidRequest: it must be one of both, or two tracks have the same name; or as `sequence` does.
    """
    if (single is None) == (several is None):
        raise InvalidRequest(f"Either {name} or tracks must be given, and not both.", path=name)
    if single is not None:
        return (Track(None, sequence(single, name)),)
    assert several is not None
    check_distinct([track_id for track_id, _ in several])
    return tuple(
        Track(track_id, sequence(written, f"tracks[{number}].{name}"))
        for number, (track_id, written) in enumerate(several)
    )


def check_distinct(track_ids: Items[str]) -> None:
    """Refuse tracks of which two have the same name.

    Raises:
        InvalidRequest: the path names the first that was there before.
    """
    seen: set[str] = set()
    for number, track_id in enumerate(track_ids):
        if track_id in seen:
            raise InvalidRequest(f"The track {track_id!r} appears twice.", path=f"tracks[{number}].track_id")
        seen.add(track_id)
