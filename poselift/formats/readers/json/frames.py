"""Frames of people, one document each or in a list: OpenPose, AlphaPose's dictionaries, Ultralytics, MMPose's pictures,
detectors in browsers, MediaPipe's landmarks, Kinetics-Skeleton.
"""

import warnings
from typing import Any

import numpy as np

from poselift.coordinates import Coordinates
from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.frame_files import last_number
from poselift.formats.readers.json.people import is_person, of_objects, person_of
from poselift.formats.readers.recording import Person, Recording, positive

# Where a frame has its people; the first two are in no other document.
_PEOPLE = (
    "people",
    "bodies",
    "instances",
    "instance_info",
    "skeleton",
    "poses",
    "persons",
    "predictions",
    "detections",
)
_LANDMARKS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")
_NUMBERS = ("frame", "frame_id", "frame_index", "frame_idx", "frame_number")
# Where a document has its frames.
_FRAMES = ("frames", "data", "results", "predictions", "poses")
_N_LANDMARKS = 33
# Of a person's height in the picture; people beside each other are farther apart.
_MAX_STEP = 0.1


def is_frame(document: Any) -> bool:
    """Whether a document is one frame, with people or without."""
    if isinstance(document, dict):
        return _people_key(document) is not None or is_person(document) or _are_landmarks(document)
    return isinstance(document, list) and bool(document) and (_is_people(document) or _are_poses(document))


def _people_key(frame: dict[str, Any]) -> str | None:
    """The key of a frame's people."""
    certain = next((key for key in _PEOPLE[:2] if isinstance(frame.get(key), list)), None)
    return certain or next((key for key in _PEOPLE if key in frame and _is_people(frame[key])), None)


def _are_landmarks(frame: dict[str, Any]) -> bool:
    return any(key in frame and _are_poses(frame[key]) for key in _LANDMARKS)


def _is_people(value: Any) -> bool:
    """Whether a value is a list of people; other things that were detected may be among them."""
    is_list = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return is_list and (not value or any(map(is_person, value)))


def _are_poses(value: Any) -> bool:
    """Whether a value is nobody, the landmarks of a person, or a list of these."""
    if value is None or value == []:
        return True
    return _is_pose(value) or (isinstance(value, list) and all(map(_is_pose, value)))


def _is_pose(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_pose(value[key]) for key in _LANDMARKS if key in value)
    return isinstance(value, list) and len(value) == _N_LANDMARKS and all(map(_is_landmark, value))


def _is_landmark(value: Any) -> bool:
    """An object with x and y, or a row `[x, y, z, visibility]`."""
    return {"x", "y"} <= value.keys() if isinstance(value, dict) else isinstance(value, list) and len(value) == 4


def people_of(frame: Any, field: str) -> list[Person]:
    """The people of a frame; None and what is empty is a frame without people.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    if not frame:
        return []
    if isinstance(frame, dict):
        if key := _people_key(frame):
            return _listed(frame[key], _inside(field, key))
        if is_person(frame):
            return [person] if (person := person_of(frame, field)) else []
        key = next((key for key in _LANDMARKS if key in frame), None)
        return people_of_landmarks(frame[key], _inside(field, key)) if key else []
    return _listed(frame, field) if _is_people(frame) else people_of_landmarks(frame, field)


def _inside(field: str, key: str) -> str:
    """The name of a field in another, which may be the name of a file."""
    return f"{field}.{key}" if field and not field.endswith(" ") else f"{field}{key}"


def _listed(entries: list[Any], field: str) -> list[Person]:
    people = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InvalidFile(f"{field}[{index}] must be an object.", path=f"{field}[{index}]")
        if is_person(entry) and (person := person_of(entry, f"{field}[{index}]")):
            people.append(person)
    return people


def people_of_landmarks(value: Any, field: str) -> list[Person]:
    """The landmarks of one person, or of several; raises as `people_of`."""
    if isinstance(value, dict):
        key = next(key for key in _LANDMARKS if key in value)
        return people_of_landmarks(value[key], f"{field}.{key}")
    if not value:
        return []
    if not _is_pose(value):
        return [person for index, one in enumerate(value) for person in people_of_landmarks(one, f"{field}[{index}]")]
    objects = [
        {"x": one[0], "y": one[1], "visibility": one[3]} if isinstance(one, list) else {**one, "name": None}
        for one in value
    ]
    return [Person(None, of_objects(objects, field))]


def read_frame(document: Any) -> Recording:
    """Read a document of a single frame, or a list of one person's poses over time. Raises as `read_frames`."""
    people = people_of(document, "")
    if isinstance(document, list) and not any("box" in one or "bbox" in one for one in document) and _is_motion(people):
        return recording_of({frame: [person] for frame, person in enumerate(people)})
    return recording_of({0: people}, coordinates=_coordinates([document]))


def _is_motion(people: list[Person]) -> bool:
    """Whether people are rather one person over time than several in a picture: each is where the one before was."""
    if len(people) < 2 or len({len(person.detection.joints) for person in people}) > 1:
        return False
    if len({person.identity for person in people}) > 1:
        return False
    positions = np.stack([person.detection.joints[:, :2] for person in people])
    moved = np.linalg.norm(positions[1:] - positions[:-1], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of people of whom nothing was seen
        height = np.nanmedian(np.nanmax(positions, axis=1) - np.nanmin(positions, axis=1), axis=0)[1]
        return bool(np.nanmedian(moved) < _MAX_STEP * height)


def is_frames(document: Any) -> bool:
    """Whether a document is a list of frames, or has one."""
    if isinstance(document, dict):
        return any(_are_frames(document[key]) for key in _FRAMES if key in document)
    return _are_frames(document)


def _are_frames(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(not frame or is_frame(frame) for frame in value)
        and any(frame and is_frame(frame) for frame in value)
    )


def read_frames(document: Any) -> Recording:
    """Read a list of frames; without numbers of their own they are consecutive.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    keys = _FRAMES if isinstance(document, dict) else ()
    key = next((key for key in keys if key in document and _are_frames(document[key])), "")
    frames = document[key] if key else document
    numbers = [_number(frame) for frame in frames]
    is_numbered = None not in numbers and len(set(numbers)) == len(numbers)
    found = {
        number if is_numbered and number is not None else index: people_of(frame, f"{key}[{index}]")
        for index, (number, frame) in enumerate(zip(numbers, frames, strict=True))
    }
    fps = positive(document.get("fps"), "fps") if key else None
    return recording_of(found, coordinates=_coordinates(frames), fps=fps)


def _number(frame: Any) -> int | None:
    numbers = [frame[key] for key in _NUMBERS if key in frame] if isinstance(frame, dict) else []
    return numbers[0] if numbers and type(numbers[0]) is int and numbers[0] >= 0 else None


def _coordinates(frames: list[Any]) -> Coordinates | None:
    """Kinetics-Skeleton gives shares of the picture."""
    is_kinetics = any(isinstance(frame, dict) and _people_key(frame) == "skeleton" for frame in frames)
    return "normalised" if is_kinetics else None


def is_named_frames(document: Any) -> bool:
    """Whether a document is AlphaPose's dictionary of frames by the names of their pictures."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(isinstance(frame, dict) and ("bodies" in frame or "people" in frame) for frame in document.values())
    )


def read_named_frames(document: dict[str, Any]) -> Recording:
    """Read `{"17.jpg": {"bodies": [{"joints": [x, y, score, ...]}]}}`, or with `people` as OpenPose has them.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    found: dict[int, list[Person]] = {}
    for name, frame in document.items():
        number = last_number(name)
        if number is None or number in found:
            raise InvalidFile(f"{name[:60]!r} must be the name of a picture, with a number of its own.", path=name[:60])
        found[number] = people_of(frame, f"[{name[:60]!r}]")
    return recording_of(found)
