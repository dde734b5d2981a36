"""Annotation files of COCO, as data sets come and annotation tools export them."""

from typing import Any

import numpy as np

from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.frame_files import last_number
from poselift.formats.readers.joint_names import skeleton_of
from poselift.formats.readers.json.people import identity_of
from poselift.formats.readers.recording import Person, Recording, size_px
from poselift.missing import MISSING
from poselift.skeletons import Skeleton

_IDENTITIES = ("track_id", "instance_id", "person_id")


def is_coco_annotations(document: Any) -> bool:
    """Whether a document is a COCO file with pictures and annotations."""
    return isinstance(document, dict) and isinstance(document.get("images"), list) and "annotations" in document


def read_coco_annotations(document: dict[str, Any]) -> Recording:
    """Read `images`, `annotations` with flat `keypoints` of x, y, visibility, and `categories` with the joints' names.

    Pictures are numbered by their names, where these tell them apart, and otherwise in the order of their `id`.
    Visibility 0 is a joint that was not annotated; 1 (hidden) and 2 are as good as each other.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    images = _objects(document, "images")
    numbers = _frame_numbers(images)
    sizes = [[image.get("width"), image.get("height")] for image in images]
    width_height = sizes[0] if all(size == sizes[0] for size in sizes) else []
    order = _order(document)
    found: dict[int, list[Person]] = {number: [] for number in numbers.values()}
    for index, annotation in enumerate(_objects(document, "annotations")):
        field = f"annotations[{index}]"
        if not annotation.get("keypoints"):
            continue
        image_id = annotation.get("image_id")
        if not isinstance(image_id, int | str) or image_id not in numbers:
            raise InvalidFile(f"{field}.image_id is that of no image: {image_id!r:.40}.", path=f"{field}.image_id")
        identity = identity_of({**_attributes(annotation), **annotation}, field, _IDENTITIES)
        found[numbers[image_id]].append(Person(identity, _detection(annotation["keypoints"], order, field)))
    return recording_of(
        found,
        skeleton=order[0].name if order else None,
        image_size=size_px(width_height, "images[0]") if None not in width_height and width_height else None,
    )


def _attributes(annotation: dict[str, Any]) -> dict[str, Any]:
    """What annotation tools add of their own."""
    attributes = annotation.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = document[key]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidFile(f"{key} must be a list of objects.", path=key)
    return entries


def _frame_numbers(images: list[dict[str, Any]]) -> dict[int | str, int]:
    """The frame of each picture by its id."""
    ids = [image.get("id") for image in images]
    known = [image_id for image_id in ids if isinstance(image_id, int | str)]
    if len(set(known)) < len(images):
        raise InvalidFile("images must each have an id of its own.", path="images")
    numbers = [last_number(str(image.get("file_name"))) for image in images]
    if None in numbers or len(set(numbers)) < len(numbers):
        ranked = sorted(known, key=lambda image_id: (isinstance(image_id, str), image_id))
        return {image_id: frame for frame, image_id in enumerate(ranked)}
    return {image_id: number for image_id, number in zip(known, numbers, strict=True) if number is not None}


def _order(document: dict[str, Any]) -> tuple[Skeleton, list[int | None]] | None:
    """The skeleton of the named joints, and where each of its joints is among them; None without names."""
    categories = document.get("categories")
    for category in categories if isinstance(categories, list) else []:
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return skeleton_of(names)
    return None


def _detection(flat: Any, order: tuple[Skeleton, list[int | None]] | None, field: str) -> Detection:
    read = Detection.of_triples(flat, f"{field}.keypoints")
    joints = read.joints.copy()
    joints[joints[:, 2] == 0] = MISSING
    if order is None:
        return Detection(read.field, joints)
    skeleton, places = order
    arranged = np.full((skeleton.n_joints, 3), MISSING, np.float32)
    for joint, place in enumerate(places):
        if place is not None and place < len(joints):
            arranged[joint] = joints[place]
    return Detection(read.field, arranged)
