"""A request after validation, whichever transport and format it came in."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift import camera
from poselift.input_warnings import InputWarning, refuse_any
from poselift.motion.world import WorldOptions
from poselift.person_choice import ALL, CHOICES, choose, presence_of
from poselift.plausibility import Person, Timing, check_plausibility
from poselift.sequence import PoseSequence, Sequence
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import Timestamps, check_distinct

Clip = TypeVar("Clip", Sequence, PoseSequence)
Frames = TypeVar("Frames")


@dataclass(frozen=True)
class Track(Generic[Clip]):
    """The frames of one person.

    Attributes:
        track_id: None in a request about a single person.
        path: name of the field with the frames.
    """

    track_id: str | None
    sequence: Clip
    path: str = "keypoints"


@dataclass(frozen=True)
class Request(Generic[Clip]):
    """The frames of one or several people, and how they are to be answered.

    Attributes:
        model: `name`, `name@version` or `name@label`; None for the server's default.
        targets: [T] increasing indices of the frames to answer with a pose, in every track; None for all.
        mirrored_average: also lift the mirrored person and average both; twice the work.
        person_choice: whose frames are answered, as `poselift.person_choice.choose` takes it.
        timing: the field that the times came from.
        strict: whether to refuse what would otherwise be answered with a warning.
        world: how to answer motion in the world, too; None for not at all.
    Raises:
        InvalidRequest: it asks for motion in the world, and only for some frames.
    """

    tracks: tuple[Track[Clip], ...]
    model: str | None = None
    mirrored_average: bool = False
    targets: NDArray[np.int64] | None = None
    person_choice: str = ALL
    timing: Timing = "fps"
    strict: bool = False
    world: WorldOptions | None = None

    def __post_init__(self) -> None:
        if self.world is not None and self.targets is not None:
            raise InvalidRequest("Motion in the world needs every frame: leave targets or world out.", path="targets")

    @property
    def frames(self) -> int:
        return sum(len(track.sequence.times_s) for track in self.tracks)

    @property
    def joints(self) -> int:
        """Those of all frames together."""
        return sum(len(track.sequence.times_s) * track.sequence.skeleton.n_joints for track in self.tracks)


def warnings_about(request: Request[Sequence]) -> tuple[InputWarning, ...]:
    """What is likely not what the sender of a request meant, about the people whom it chooses.

    Args:
        request: as `with_chosen_tracks` returns it.
    Raises:
        InvalidKeypoints: the keypoints are certainly no pixels, or the request is strict and there is a warning.
    """
    people = [Person(track.path, track.sequence) for track in request.tracks]
    warnings = check_plausibility(people, timing=request.timing)
    if request.strict:
        refuse_any(warnings)
    return warnings


def with_chosen_tracks(request: Request[Sequence]) -> Request[Sequence]:
    """The request with the tracks that it chooses and no others.

    Raises:
        UnknownPerson: it chooses a track that it does not have.
        InvalidRequest: it chooses a track, and has keypoints of one person without a name.
    """
    choice, tracks = request.person_choice, request.tracks
    if choice == ALL:
        return request
    if tracks[0].track_id is None and choice not in CHOICES:
        raise InvalidRequest(
            "The only person of a request has no name: leave person_choice out, or give tracks with a track_id.",
            path="person_choice",
        )
    presences = [presence_of(track.sequence.keypoints) for track in tracks]
    chosen = choose(choice, [track.track_id or "" for track in tracks], presences)
    return replace(request, tracks=tuple(tracks[index] for index in chosen))


LiftRequest = Request[Sequence]
"""Keypoints to lift."""

CompleteRequest = Request[PoseSequence]
"""Poses with missing joints to complete."""


@dataclass(frozen=True)
class Limits:
    """How large one request may be.

    Attributes:
        frames, tracks: most of them in a request.
        live_frames: most frames in one message of a session.
    """

    frames: int
    tracks: int
    live_frames: int = 256

    @property
    def frames_refusal(self) -> str:
        """The sentence that refuses a request with more frames."""
        return f"A request may hold at most {self.frames} frames (setting max_frames)."

    @property
    def tracks_refusal(self) -> str:
        """The sentence that refuses a request with more tracks."""
        return f"A request may hold at most {self.tracks} tracks (setting max_tracks)."

    @property
    def live_frames_refusal(self) -> str:
        """The sentence that refuses a message with more frames."""
        return f"A message of a session may hold at most {self.live_frames} frames (setting max_live_frames)."

    def check(self, request: Request[Clip]) -> None:
        """Raise InvalidRequest when a request is larger."""
        first = request.tracks[0]
        path = first.path if first.track_id is None else "tracks"
        self.check_counts(tracks=len(request.tracks), frames=request.frames, path=path)

    def check_counts(self, *, tracks: int, frames: int, path: str) -> None:
        """Raise InvalidRequest when these are more; `path` names the field with the frames."""
        if tracks > self.tracks:
            raise InvalidRequest(self.tracks_refusal, path="tracks")
        if frames > self.frames:
            raise InvalidRequest(self.frames_refusal, path=path)

    def check_live(self, frames: int, path: str) -> None:
        """Raise InvalidRequest when a message of a session has more frames; `path` names their field."""
        if frames > self.live_frames:
            raise InvalidRequest(self.live_frames_refusal, path=path)


def times_of(frames: int, fps: float | None, timestamps_s: Timestamps | None, path: str) -> NDArray[np.float64]:
    """Times [F] in seconds, from a timing that `check_timing` has accepted.

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
    # Relative to the first frame, so that times of day keep their precision.
    return np.array(timestamps_s, dtype=np.float64) - timestamps_s[0]


def targets_of(targets: Items[int], tracks: Items[Track[Clip]]) -> NDArray[np.int64] | None:
    """The frames [T] to answer, from the indices in a request; None for all, when there are no indices.

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
    field: str,
    single: Frames | None,
    several: Items[tuple[str, Frames]] | None,
    sequence: Callable[[Frames, str], Clip],
) -> tuple[Track[Clip], ...]:
    """The people of a request.

    Args:
        field: name of the field that holds a person's frames.
        single: the frames of the only person, if there is one.
        several: or the name and the frames of each of several.
        sequence: makes a sequence of frames; its second argument is their path.
    Raises:
        InvalidRequest: neither or both are given, or two tracks have the same name; or as `sequence` does.
    """
    if (single is None) == (several is None):
        raise InvalidRequest(f"Either {field} or tracks must be given, and not both.", path=field)
    if single is not None:
        return (Track(None, sequence(single, field), field),)
    assert several is not None
    check_distinct([track_id for track_id, _ in several])
    return tuple(
        Track(track_id, sequence(frames, path := f"tracks[{number}].{field}"), path)
        for number, (track_id, frames) in enumerate(several)
    )


def with_people(tracks: tuple[Track[Sequence], ...], people: Items[camera.Person]) -> tuple[Track[Sequence], ...]:
    """Tracks with what is known of the person of each; unchanged where there are no people, for a single track."""
    if not people:
        return tracks
    return tuple(
        replace(track, sequence=replace(track.sequence, person=person))
        for track, person in zip(tracks, people, strict=True)
    )
