"""Folders of JSON files, one per frame: OpenPose's and all others that write frame by frame."""

from pathlib import Path
from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.frame_files import frame_files, naming_file
from poselift.formats.readers.json.frames import is_frame, people_of
from poselift.formats.readers.json.json_file import load_json
from poselift.formats.readers.json.mmpose import skeleton_of_data_set
from poselift.formats.readers.recording import Person, Recording


def read_frame_folder(folder: Path) -> Recording:
    """Read the frames of one video, numbered by the last number of the files' names.

    A number without a file is a frame without people. Files without a number are not frames, such as settings.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the file and the field.
    """
    found: dict[int, list[Person]] = {}
    skeleton = None
    for number, path in frame_files(folder, ".json").items():
        with naming_file(path):
            document = load_json(path)
        found[number] = _people(document, path.name)
        skeleton = skeleton or skeleton_of_data_set(document)
    return recording_of(found, skeleton=skeleton)


def _people(document: Any, name: str) -> list[Person]:
    if document and not is_frame(document):
        raise InvalidFile(
            f"{name}: it is not a frame as OpenPose, AlphaPose, MMPose, Ultralytics or MediaPipe write one; keep only "
            "the files of one video in the folder.",
            path=name,
        )
    return people_of(document, f"{name}: ")
