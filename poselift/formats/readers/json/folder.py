"""Folders of JSON files, one per frame: OpenPose's and all others that write frame by frame."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poselift.errors import InvalidFile, PoseliftError
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.json.frames import is_frame, last_number, people_of
from poselift.formats.readers.json.json_file import load_json
from poselift.formats.readers.json.mmpose import skeleton_of_data_set
from poselift.formats.readers.recording import Person, Recording

_LISTED = 5


def read_frame_folder(folder: Path) -> Recording:
    """Read the frames of one video, numbered by the last number of the files' names.

    A number without a file is a frame without people. Files without a number are not frames, such as settings.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the file and the field.
    """
    found: dict[int, list[Person]] = {}
    names: dict[int, str] = {}
    skeleton = None
    for number, path in _numbered(folder):
        if number in found:
            raise InvalidFile(f"{names[number]} and {path.name} have the same frame number, {number}.")
        try:
            document = load_json(path)
        except PoseliftError as error:
            raise InvalidFile(f"{path.name}: {error.message}", path=error.path) from None
        found[number], names[number] = _people(document, path.name), path.name
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


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """The files of a video's frames in the order of their names.

    Raises:
        InvalidFile: there are none, or those of several videos.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".json"]
    numbered = [(number, path) for path in files if (number := last_number(path.stem)) is not None]
    if not numbered:
        raise InvalidFile(
            f"there are no JSON files with a frame number in their names, such as 000000.json, among its {len(files)}."
        )
    videos = sorted({_video(path.stem) for _, path in numbered})
    if len(videos) > 1:
        raise InvalidFile(
            f"there are files of several videos in it: {', '.join(videos[:_LISTED])}; keep one per folder."
        )
    yield from numbered


def _video(stem: str) -> str:
    """The name of a file without its number, and what follows that."""
    return re.sub(r"\d+\D*$", "", stem).rstrip("_-. ")
