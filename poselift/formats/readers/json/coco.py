"""COCO keypoint results, and AlphaPose's, which add a tracker's `idx`."""

from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.frame_files import last_number
from poselift.formats.readers.json.people import identity_of
from poselift.formats.readers.recording import Person, Recording

_IDENTITIES = ("idx", "track_id")


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
        found.setdefault(frame, []).append(Person(identity_of(entry, f"[{index}]", _IDENTITIES), detection))
    return recording_of(found)


def _object(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _frame_number(image_id: Any, field: str) -> int:
    number = last_number(image_id) if isinstance(image_id, str) else image_id
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if type(number) is not int or number < 0:
        raise InvalidFile(f"{field} must be a frame number, or a file name with one, not {image_id!r:.60}.", path=field)
    return number
