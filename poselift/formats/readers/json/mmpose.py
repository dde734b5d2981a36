"""MMPose's predictions of a video, as its demo (`meta_info`, `instance_info`) and as its inferencer save them."""

from dataclasses import replace
from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detected import recording_of
from poselift.formats.readers.json.people import person_of
from poselift.formats.readers.recording import Person, Recording
from poselift.input_warnings import InputWarning

_SKELETONS = {
    "coco": "coco17",
    "halpe26": "halpe26",
    "halpe": "halpe136",
    "coco_wholebody": "wholebody133",
    "coco_wholebody_openpose": "wholebody134",
    "h36m": "h36m17",
    "mpi_inf_3dhp": "mpi17",
}


def is_mmpose(document: Any) -> bool:
    """Whether a document holds MMPose's predictions of a video."""
    frames = document.get("instance_info") if isinstance(document, dict) else document
    return isinstance(frames, list) and any(isinstance(frame, dict) and "instances" in frame for frame in frames)


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
        found.setdefault(frame_number, []).extend(person for person in people if person)
    known = skeleton_of_data_set(document)
    recording = recording_of(found, skeleton=known)
    if known or recording.skeleton != "coco17":
        return recording
    guess = "it does not say its data set; its 17 joints were taken for those of COCO (--skeleton, if they are others)."
    return replace(recording, warnings=(*recording.warnings, InputWarning("skeleton_guessed", guess)))


def _person(instance: Any, field: str) -> Person | None:
    if not isinstance(instance, dict) or not isinstance(instance.get("keypoints"), list):
        raise InvalidFile(f"{field} must have keypoints.", path=field)
    return person_of(instance, field)


def skeleton_of_data_set(document: Any) -> str | None:
    """The skeleton of the data set that the model was trained on; None if the document does not say it."""
    meta = document.get("meta_info") if isinstance(document, dict) else None
    data_set = meta.get("dataset_name") if isinstance(meta, dict) else None
    return _SKELETONS.get(data_set.lower()) if isinstance(data_set, str) else None
