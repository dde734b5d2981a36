"""The label files of Ultralytics: a text file per frame, a line per person, positions as shares of the picture."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.detection import Detection, to_joints
from poselift.formats.readers.frame_files import frame_files, last_number, naming_file
from poselift.formats.readers.recording import Person, Recording
from poselift.formats.readers.text_file import read_text
from poselift.missing import MISSING

_ENDING = ".txt"
_JOINTS = 17
_BOX = 5
"""A line begins with the class and the box: centre, width, height."""
_WITH_SCORES = _BOX + 3 * _JOINTS
_WITHOUT_SCORES = _BOX + 2 * _JOINTS
_MAX_LINES = 10_000


def is_labels(text: str) -> bool:
    """Whether the first line of a text is a person: numbers between spaces, as many as the labels of 17 keypoints."""
    words = next((line for line in text[:10_000].splitlines() if line.strip()), "").split()
    return len(words) in (*range(_WITHOUT_SCORES, _WITHOUT_SCORES + 3), *range(_WITH_SCORES, _WITH_SCORES + 3)) and all(
        _number(word) is not None for word in words
    )


def read_labels(text: str) -> Recording:
    """Read a single file: a video of one frame. Raises as `read_label_folder`."""
    return _recording({0: _people(text, "")})


def is_label_folder(folder: Path) -> bool:
    """Whether a folder holds label files."""
    texts = sorted(path for path in folder.iterdir() if path.suffix.lower() == _ENDING)
    numbered = [path for path in texts if last_number(path.stem) is not None]
    return any(is_labels(_text_of(path)) for path in numbered[:20])


def read_label_folder(folder: Path) -> Recording:
    """Read the label files of one video, numbered as `frame_files` does; a frame without a file is one without people.

    A line is class, box, x, y (and score) of each of 17 keypoints, then perhaps the box's score, then perhaps the
    person's number, all but the class as shares of the picture.

    Raises:
        InvalidFile: as `frame_files`, or a line is something else; the message names the file and the line.
    """
    files = frame_files(folder, _ENDING)
    return _recording({number: _people(_text_of(path), f"{path.name}: ") for number, path in files.items()})


def _text_of(path: Path) -> str:
    with naming_file(path):
        return read_text(path)


def _recording(found: dict[int, list[Person]]) -> Recording:
    return recording_of(found, skeleton="coco17", coordinates="normalised")


def _people(text: str, file: str) -> list[Person]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > _MAX_LINES:
        raise InvalidFile(f"{file}it has {len(lines)} lines, and a person needs one.")
    people = [_person(line, f"{file}line {number}") for number, line in lines]
    # Nobody is where a box has no keypoints.
    return [person for person in people if not np.isnan(person.detection.joints[:, 0]).all()]


def _person(line: str, field: str) -> Person:
    values = [_number(word) for word in line.split()]
    if None in values:
        raise InvalidFile(f"{field} must be numbers between spaces, not {line.strip()!r:.60}.")
    numbers = [value for value in values if value is not None]
    width = 3 if len(numbers) >= _WITH_SCORES else 2
    last = numbers[_BOX + width * _JOINTS :]
    if len(numbers) < _WITHOUT_SCORES or len(last) > 2:
        raise InvalidFile(
            f"{field} has {len(numbers)} numbers; a person is class, box and x, y (and score) of {_JOINTS} keypoints, "
            f"{_WITHOUT_SCORES} or {_WITH_SCORES} numbers, then perhaps the score of the box and the person's number."
        )
    keypoints = _keypoints(np.array(numbers[_BOX:][: width * _JOINTS]), width)
    return Person(_identity(last), Detection(field, to_joints(keypoints, field)))


def _identity(last: list[float]) -> str | None:
    """The person's number, which follows the score of the box; alone, a whole number from 1 on is one."""
    if last and last[-1] >= 1 and last[-1] == int(last[-1]):
        return str(int(last[-1]))
    return None


def _keypoints(numbers: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Keypoints [17, 3]; the visibility of training labels, 0, 1 or 2, is 0 for a missing joint."""
    keypoints = np.ones((_JOINTS, 3))
    keypoints[:, :width] = numbers.reshape(_JOINTS, width)
    if (keypoints[:, 2] == 2).any():
        keypoints[:, 2] = keypoints[:, 2] > 0
    keypoints[keypoints[:, 2] == 0] = MISSING
    return keypoints


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
