"""From poses to motion in the world, in threads; and the same again for poses that were answered before."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from poselift.errors import InvalidKeypoints
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted
from poselift.motion.clip import motion_of
from poselift.motion.world import WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift_service.errors import DeadlineExceeded, InvalidRequest, Overloaded
from poselift_service.pipeline.request import LiftRequest, Track, with_chosen_tracks

_MAX_WAITING = 64
_RETRY_AFTER_S = 1.0

Done = TypeVar("Done")


@dataclass(frozen=True)
class RefineRequest:
    """Poses that were answered before, and how to put them into the world now.

    Attributes:
        request: the keypoints, and what is known of camera and people; it asks for motion in the world.
        answer: the poses that it was answered with, of one track for each of the request's, or more.
    """

    request: LiftRequest
    answer: tuple[LiftedTrack, ...]


@dataclass(frozen=True)
class Refined:
    """The motion of each track in the world, with its name."""

    tracks: tuple[tuple[str | None, WorldMotion], ...]
    frames: int


class MotionThreads:
    """Threads for motion in the world: as many at a time as half of the processors, and so many that wait."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._waiting = 0

    def refuse_when_full(self) -> None:
        """Refuse a request that would wait behind too many others; for before its body is read.

        Raises:
            Overloaded: it would.
        """
        if self._waiting >= _MAX_WAITING:
            raise Overloaded(_RETRY_AFTER_S, "Too many requests wait for motion in the world; try again later.")

    async def run(self, work: Callable[..., Done], *args: object, deadline: float) -> Done:
        """Do work in a thread, in turn.

        Args:
            deadline: moment of `time.monotonic()` until which it may wait and run; the thread itself runs to its end.
        Raises:
            DeadlineExceeded: it was not done in time.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._turns:
                return await asyncio.to_thread(work, *args)
        except TimeoutError:
            raise DeadlineExceeded from None
        finally:
            self._waiting -= 1


def with_world(request: LiftRequest, tracks: tuple[LiftedTrack, ...]) -> tuple[LiftedTrack, ...]:
    """Lifted tracks with their motion in the world.

    Args:
        request: that they answer; it asks for this, and has chosen tracks as they are.
    Raises:
        InvalidKeypoints: the path of a person cannot be found; the path names their frames.
    """
    assert request.world is not None
    return tuple(
        track._replace(world=_motion(given, track.lifted, request.world))
        for track, given in zip(tracks, request.tracks, strict=True)
    )


def refine(refined: RefineRequest) -> Refined:
    """Put poses that were answered before into the world.

    Raises:
        InvalidRequest: the answer has no poses, or not as many, of somebody in the request.
        UnknownPerson, InvalidKeypoints: as for a request that is lifted.
    """
    request, tracks = _matched(refined)
    moved = with_world(request, tracks)
    return Refined(tuple((track.track_id, track.world) for track in moved if track.world is not None), request.frames)


def refined_for_file(refined: RefineRequest, first_frame: int, *, world: bool) -> tuple[LiftedTrack, ...]:
    """Poses that were answered before, with their times, for a file; raises as `refine` does.

    Args:
        first_frame: number of the first pose's frame.
        world: whether to put them into the world.
    """
    request, tracks = _matched(refined)
    moved = with_world(request, tracks) if world else tracks
    return tuple(
        track._replace(times_s=given.sequence.times_s, first_frame=first_frame)
        for track, given in zip(moved, request.tracks, strict=True)
    )


def _matched(refined: RefineRequest) -> tuple[LiftRequest, tuple[LiftedTrack, ...]]:
    """The people whom a request chooses, and the poses that each was answered with."""
    request = with_chosen_tracks(refined.request)
    answered = {track.track_id: (number, track) for number, track in enumerate(refined.answer)}
    in_order = []
    for given in request.tracks:
        if given.track_id not in answered:
            raise InvalidRequest(f"The answer has no poses of {_name(given)}.", path="answer")
        number, track = answered[given.track_id]
        _check_frames(given, track.lifted, "answer" if given.track_id is None else f"answer.tracks[{number}]")
        in_order.append(track)
    return request, tuple(in_order)


def _motion(given: Track[Sequence], lifted: Lifted, options: WorldOptions) -> WorldMotion:
    try:
        return motion_of(lifted, given.sequence, options)
    except InvalidKeypoints as error:
        if error.path != "keypoints":
            raise
        raise InvalidKeypoints(error.message, path=given.path) from error


def _name(track: Track[Sequence]) -> str:
    return "the person with keypoints" if track.track_id is None else f"the track {track.track_id!r}"


def _check_frames(given: Track[Sequence], lifted: Lifted, path: str) -> None:
    poses, frames = len(lifted.joints), len(given.sequence.times_s)
    if poses != frames:
        raise InvalidRequest(
            f"There must be one pose per frame: {poses} poses for {frames} frames.", path=f"{path}.poses"
        )
