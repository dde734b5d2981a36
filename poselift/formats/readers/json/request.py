"""The bodies of POST /lift and POST /complete as files."""

from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from poselift.camera_fields import CameraFields, PersonFields
from poselift.coordinates import Coordinates
from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection, number
from poselift.formats.readers.pose_recording import PoseFrames, PoseRecording
from poselift.formats.readers.recording import Recording, name, positive, size_px, whole
from poselift.input_warnings import InputWarning
from poselift.validation import first_finding, path_of

Fields = TypeVar("Fields", CameraFields, PersonFields)

_READ = {"skeleton", "image_size", "fps", "timestamps_s", "person_choice", "coordinates", "strict", "camera", "person"}


def is_lift_request(document: Any) -> bool:
    """Whether a document is a body of POST /lift."""
    return isinstance(document, dict) and ("keypoints" in document or "tracks" in document)


def read_lift_request(document: dict[str, Any]) -> Recording:
    """Read `{"keypoints" | "tracks", "skeleton", "image_size", "fps" | "timestamps_s"}`, camera, person and the like.

    How to lift it (`model`, `targets` and so on) is not read from files; that is warned about as unknown keys are.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    people = [(person.track_id, _detections(person)) for person in _people(document, "keypoints")]
    fps, timestamps_s = _timing(document)
    return Recording(
        people,
        skeleton=name(document.get("skeleton"), "skeleton"),
        fps=fps,
        image_size=size_px(document.get("image_size"), "image_size"),
        timestamps_s=timestamps_s,
        person_choice=name(document.get("person_choice"), "person_choice"),
        coordinates=_coordinates(document),
        strict=document.get("strict") is True,
        camera=_known(CameraFields, document, "camera"),
        person=_known(PersonFields, document, "person"),
        persons=_persons(document.get("tracks") or []),
        warnings=_about_unused(document),
    )


def _about_unused(document: dict[str, Any]) -> tuple[InputWarning, ...]:
    says_something = (key for key, value in document.items() if value not in (None, False, [], {}))
    unused = [key for key in says_something if key not in {*_READ, "keypoints", "tracks"}]
    if not unused:
        return ()
    message = (
        f"{', '.join(unused)[:200]} in the file {'was' if len(unused) == 1 else 'were'} not read: a file says what was "
        "seen, and options of the command, or the query of POST /lift/file, how to lift it."
    )
    return (InputWarning("unused_field", message, unused[0][:200]),)


def _persons(tracks: list[dict[str, Any]]) -> dict[str, PersonFields]:
    """What the tracks of a request say of their people, by identity."""
    said = {
        track["track_id"]: _known(PersonFields, track, "person", f"tracks[{number}].")
        for number, track in enumerate(tracks)
    }
    return {identity: fields for identity, fields in said.items() if fields is not None}


def _known(schema: type[Fields], owner: dict[str, Any], key: str, prefix: str = "") -> Fields | None:
    """What is known of the camera or a person, in an object whose fields are named with `prefix`."""
    if owner.get(key) is None:
        return None
    try:
        return schema.model_validate(owner[key])
    except ValidationError as error:
        raise _unusable(error, f"{prefix}{key}") from None


def _unusable(error: ValidationError, path: str) -> InvalidFile:
    found = first_finding(error)
    path = path_of((path, *found.location))
    return InvalidFile(f"{path} cannot be used: {found.message}.", path=path)


def _coordinates(document: dict[str, Any]) -> Coordinates | None:
    match document.get("coordinates"):
        case None | "pixels" | "normalised" as coordinates:
            return coordinates
        case other:
            raise InvalidFile(f"coordinates are `pixels` or `normalised`, not {other!r:.40}.", path="coordinates")


def is_complete_request(document: Any) -> bool:
    """Whether a document is a body of POST /complete."""
    return isinstance(document, dict) and ("poses" in document or "tracks" in document)


def read_complete_request(document: dict[str, Any]) -> PoseRecording:
    """Read `{"poses" | "tracks", "skeleton", "fps" | "timestamps_s", "first_frame"}`; other keys are ignored.

    A track may have times and a first frame of its own, as `write_json` writes them.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    people = [_pose_frames(person) for person in _people(document, "poses")]
    fps, timestamps_s = _timing(document)
    return PoseRecording(people, name(document.get("skeleton"), "skeleton"), fps, timestamps_s)


class _Person(NamedTuple):
    """One person of a request; `owner` is the object that `field` is in, a track or the whole document."""

    track_id: str | None
    field: str
    frames: list[Any]
    owner: dict[str, Any]


def _pose_frames(person: _Person) -> PoseFrames:
    prefix = person.field.removesuffix("poses")
    first_frame = whole(person.owner.get("first_frame"), f"{prefix}first_frame") or 0
    fps, timestamps_s = _timing(person.owner, prefix)
    return PoseFrames(person.track_id, person.field, person.frames, first_frame, fps, timestamps_s)


def _people(document: dict[str, Any], key: str) -> list[_Person]:
    """The people of a request: one person's frames in `key`, or several people's in `tracks`."""
    if (key in document) == ("tracks" in document):
        raise InvalidFile(f"give either {key} or tracks, not both.", path="tracks")
    if key in document:
        return [_Person(None, key, _frames(document[key], key), document)]
    tracks = document["tracks"]
    if not isinstance(tracks, list) or not tracks:
        raise InvalidFile("tracks must be a list of at least one track.", path="tracks")
    people: list[_Person] = []
    for index, track in enumerate(tracks):
        field = f"tracks[{index}]"
        if not isinstance(track, dict) or not isinstance(track.get("track_id"), str) or key not in track:
            raise InvalidFile(f"{field} must have a track_id (text) and {key}.", path=field)
        track_id = track["track_id"]
        if track_id in {person.track_id for person in people}:
            raise InvalidFile(f"{field}: there is already a track {track_id!r}.", path=f"{field}.track_id")
        people.append(_Person(track_id, f"{field}.{key}", _frames(track[key], f"{field}.{key}"), track))
    return people


def _frames(frames: Any, field: str) -> list[Any]:
    if not isinstance(frames, list) or not frames:
        raise InvalidFile(f"{field} must be a list of at least one frame.", path=field)
    return frames


def _detections(person: _Person) -> list[Detection | None]:
    return [
        None if frame is None else Detection.of_rows(frame, f"{person.field}[{index}]")
        for index, frame in enumerate(person.frames)
    ]


def _timing(of: dict[str, Any], prefix: str = "") -> tuple[float | None, list[float] | None]:
    """The frame rate or the times of a document, or of a track whose fields are named with `prefix`."""
    times, field = of.get("timestamps_s"), f"{prefix}timestamps_s"
    if of.get("fps") is not None and times is not None:
        raise InvalidFile(f"give either {prefix}fps or timestamps_s, not both.", path=f"{prefix}fps")
    if times is not None and not isinstance(times, list):
        raise InvalidFile(f"{field} must be a list of seconds, one per frame.", path=field)
    timestamps_s = None if times is None else [number(time, f"{field}[{i}]") for i, time in enumerate(times)]
    return positive(of.get("fps"), f"{prefix}fps"), timestamps_s
