"""COCO keypoint results, and AlphaPose's, which add a tracker's `idx`."""

import math
import re
from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording, by_frame_number

_SKELETONS = {17: "coco17", 26: "halpe26"}


def is_coco_results(document: Any) -> bool:
    """Whether a document is a list of COCO or AlphaPose results."""
    return isinstance(document, list) and bool(document) and all("image_id" in _object(entry) for entry in document)


def read_coco_results(document: list[Any]) -> Recording:
    """Read `[{"image_id", "keypoints": [x, y, score, ...], "idx"?}]`.

    `image_id` is a frame number, or a file name that ends in one. `idx` identifies the person; AlphaPose writes it when
    it tracks. Others write `track_id`, a number or a text.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    found: dict[int, list[Person]] = {}
    for index, entry in enumerate(document):
        field = f"[{index}].keypoints"
        detection = Detection.of_triples(entry.get("keypoints"), field)
        frame = _frame_number(entry["image_id"], f"[{index}].image_id")
        found.setdefault(frame, []).append(Person(_identity(entry, f"[{index}]"), detection))
    counts = {len(person.detection.joints) for people in found.values() for person in people}
    skeleton = _SKELETONS.get(counts.pop()) if len(counts) == 1 else None
    numbered = by_frame_number(found)
    return Recording(
        PeopleByFrame([people or [] for people in numbered.frames]),
        skeleton,
        first_frame=numbered.first_frame,
        warnings=numbered.warnings,
    )


def _object(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _frame_number(image_id: Any, field: str) -> int:
    if type(image_id) is int and image_id >= 0:
        return image_id
    numbers = re.findall(r"\d+", image_id) if isinstance(image_id, str) else []
    if not numbers:
        raise InvalidFile(f"{field} must be a frame number, or a file name with one, not {image_id!r:.60}.", path=field)
    return int(numbers[-1])


def _identity(entry: dict[str, Any], field: str) -> str | None:
    for key in ("idx", "track_id"):
        match entry.get(key):
            case int(number) | float(number) | [int(number) | float(number)]:
                if not math.isfinite(number) or number != int(number):
                    raise InvalidFile(f"{field}.{key} must be a whole number, not {number}.", path=f"{field}.{key}")
                return str(int(number))
            case str(identity) if identity:
                return identity
    return None
