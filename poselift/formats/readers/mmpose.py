"""MMPose's predictions as JSON, as its demo (`meta_info`, `instance_info`) and as its inferencer saves them."""

from typing import Any

from poselift.errors import InvalidFile, InvalidKeypoints
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording, by_frame_number

_SKELETONS = {"coco": "coco17", "halpe26": "halpe26", "h36m": "h36m17", "mpi_inf_3dhp": "mpi17"}


def is_mmpose(document: Any) -> bool:
    """Whether a document holds MMPose's predictions."""
    if isinstance(document, dict):
        return isinstance(document.get("instance_info"), list)
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(frame, dict) and "instances" in frame for frame in document)
    )


def read_mmpose(document: Any) -> Recording:
    """Read `[{"frame_id", "instances": [{"keypoints": [[x, y], ...], "keypoint_scores"}]}]`, bare or with meta data.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    prefix = "instance_info" if isinstance(document, dict) else ""
    frames = document["instance_info"] if isinstance(document, dict) else document
    found: dict[int, list[Person]] = {}
    for index, frame in enumerate(frames):
        field = f"{prefix}[{index}]"
        frame_number = frame.get("frame_id", index) if isinstance(frame, dict) else None
        if type(frame_number) is not int or not isinstance(frame.get("instances"), list):
            raise InvalidFile(f"{field} must have a whole number as frame_id and a list of instances.", path=field)
        people = [_person(one, f"{field}.instances[{i}]") for i, one in enumerate(frame["instances"])]
        found.setdefault(frame_number, []).extend(people)
    if not found:
        raise InvalidFile("there are no frames in it.", path=prefix)
    numbered = by_frame_number(found)
    return Recording(
        PeopleByFrame([people or [] for people in numbered.frames]),
        _skeleton(document),
        first_frame=numbered.first_frame,
        warnings=numbered.warnings,
    )


def _person(instance: Any, field: str) -> Person:
    if not isinstance(instance, dict) or not isinstance(instance.get("keypoints"), list):
        raise InvalidFile(f"{field} must have keypoints.", path=field)
    keypoints = instance["keypoints"]
    scores = instance.get("keypoint_scores") or [1.0] * len(keypoints)
    if not isinstance(scores, list) or len(scores) != len(keypoints):
        raise InvalidKeypoints(
            f"{field}.keypoint_scores must be one number per keypoint.", path=f"{field}.keypoint_scores"
        )
    rows = []
    for joint, (position, score) in enumerate(zip(keypoints, scores, strict=True)):
        joint_field = f"{field}.keypoints[{joint}]"
        if not isinstance(position, list) or len(position) != 2:
            raise InvalidKeypoints(f"{joint_field} must be [x, y], not {position!r:.60}.", path=joint_field)
        rows.append([*position, score])
    identity = instance.get("track_id", instance.get("instance_id"))
    return Person(
        str(identity) if type(identity) is int and identity >= 0 else None,
        Detection.of_rows(rows, f"{field}.keypoints"),
    )


def _skeleton(document: Any) -> str | None:
    """The skeleton of the data set that the model was trained on; the number of joints alone is ambiguous."""
    meta = document.get("meta_info") if isinstance(document, dict) else None
    data_set = meta.get("dataset_name") if isinstance(meta, dict) else None
    return _SKELETONS.get(data_set.lower()) if isinstance(data_set, str) else None
