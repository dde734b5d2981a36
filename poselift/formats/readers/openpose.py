"""OpenPose's files: a folder of `<video>_<frame>_keypoints.json`, one per frame, or a single one."""

import re
from pathlib import Path
from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.json_file import load_json
from poselift.formats.readers.recording import NumberedFrames, PeopleByFrame, Person, Recording, by_frame_number

_FILE = re.compile(r"(?P<video>.*?)_?(?P<frame>\d+)_keypoints\.json")


def is_openpose(document: Any) -> bool:
    """Whether a document is one of OpenPose's frames."""
    return isinstance(document, dict) and isinstance(document.get("people"), list)


def read_openpose_folder(folder: Path) -> Recording:
    """Read all frames of one video; a frame number without a file is a frame without people.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the file and the field.
    """
    matches = [match for path in sorted(folder.iterdir()) if (match := _FILE.fullmatch(path.name))]
    if not matches:
        raise InvalidFile("there are no files named like video_000000000000_keypoints.json in it.")
    videos = sorted({match["video"] for match in matches})
    if len(videos) > 1:
        raise InvalidFile(f"there are files of several videos in it: {', '.join(videos[:5])}; keep one per folder.")
    found = {int(match["frame"]): _people(load_json(folder / match.string), f"{match.string}: ") for match in matches}
    return _recording(by_frame_number(found))


def read_openpose_frame(document: dict[str, Any]) -> Recording:
    """Read a single file: a video of one frame. Raises as `read_openpose_folder`."""
    return _recording(NumberedFrames([_people(document, "")], first_frame=0))


def _recording(numbered: NumberedFrames) -> Recording:
    frames = [people or [] for people in numbered.frames]
    counts = {len(person.detection.joints) for people in frames for person in people}
    return Recording(
        PeopleByFrame(frames),
        skeleton="body25" if counts == {25} else None,
        first_frame=numbered.first_frame,
        warnings=numbered.warnings,
    )


def _people(document: Any, file: str) -> list[Person]:
    if not is_openpose(document):
        raise InvalidFile(f"{file}an OpenPose file has a list of people.", path="people")
    people = []
    for index, person in enumerate(document["people"]):
        field = f"{file}people[{index}]"
        if not isinstance(person, dict):
            raise InvalidFile(f"{field} must be an object.", path=field)
        if person.get("pose_keypoints_2d") == []:  # only a face or a hand was seen
            continue
        field = f"{field}.pose_keypoints_2d"
        people.append(Person(_identity(person), Detection.of_triples(person.get("pose_keypoints_2d"), field)))
    return people


def _identity(person: dict[str, Any]) -> str | None:
    """A tracked person's number; OpenPose writes [-1] without tracking."""
    match person.get("person_id"):
        case [int(identity)] | int(identity) if identity >= 0:
            return str(identity)
    return None
