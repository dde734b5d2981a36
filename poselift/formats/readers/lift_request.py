"""The body of POST /lift as a file."""

from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.people import People
from poselift.formats.readers.recording import Detection, Recording, name, number, positive, size_px


def is_lift_request(document: Any) -> bool:
    return isinstance(document, dict) and ("keypoints" in document or "tracks" in document)


def read_lift_request(document: dict[str, Any]) -> Recording:
    """Read `{"keypoints" | "tracks", "skeleton", "image_size", "fps" | "timestamps_s"}`; other keys do not matter here.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    if ("keypoints" in document) == ("tracks" in document):
        raise InvalidFile("give either keypoints or tracks, not both.", path="tracks")
    if "keypoints" in document:
        people: People = [(None, _detections(document["keypoints"], "keypoints"))]
    else:
        people = _tracks(document["tracks"])
    if document.get("fps") is not None and document.get("timestamps_s") is not None:
        raise InvalidFile("give either fps or timestamps_s, not both.", path="fps")
    return Recording(
        people,
        skeleton=name(document.get("skeleton"), "skeleton"),
        fps=positive(document.get("fps"), "fps"),
        image_size=size_px(document.get("image_size"), "image_size"),
        timestamps_s=_timestamps(document.get("timestamps_s")),
    )


def _tracks(tracks: Any) -> People:
    if not isinstance(tracks, list) or not tracks:
        raise InvalidFile("tracks must be a list of at least one track.", path="tracks")
    people: People = []
    for place, track in enumerate(tracks):
        field = f"tracks[{place}]"
        if not isinstance(track, dict) or not isinstance(track.get("track_id"), str) or "keypoints" not in track:
            raise InvalidFile(f"{field} must have a track_id (text) and keypoints.", path=field)
        if track["track_id"] in {track_id for track_id, _ in people}:
            raise InvalidFile(f"{field}: there is already a track {track['track_id']!r}.", path=f"{field}.track_id")
        people.append((track["track_id"], _detections(track["keypoints"], f"{field}.keypoints")))
    return people


def _detections(frames: Any, field: str) -> list[Detection | None]:
    if not isinstance(frames, list) or not frames:
        raise InvalidFile(f"{field} must be a list of at least one frame.", path=field)
    return [None if frame is None else Detection(f"{field}[{index}]", frame) for index, frame in enumerate(frames)]


def _timestamps(times: Any) -> list[float] | None:
    if times is None:
        return None
    if not isinstance(times, list):
        raise InvalidFile("timestamps_s must be a list of seconds, one per frame.", path="timestamps_s")
    return [number(time, f"timestamps_s[{frame}]") for frame, time in enumerate(times)]
