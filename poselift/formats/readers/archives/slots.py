"""People who have a place of their own on an axis of an array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.formats.readers.detection import Detection, to_joints
from poselift.formats.readers.recording import PeopleByFrame, Person
from poselift.tracking import keep_order


def people_in_slots(keypoints: NDArray[Any], field: str) -> PeopleByFrame:
    """The people of an array; a place where nobody is holds NaN or 0, and a place that is always so is left out.

    Args:
        keypoints: [F, J, 2 or 3] of one person, or [F, P, J, 2 or 3].
        field: the name of the array.
    Raises:
        InvalidKeypoints: a number is too large.
    """
    if keypoints.ndim == 3:
        keypoints = keypoints[:, None]
    places = range(keypoints.shape[1])
    names = [field if len(places) == 1 else f"{field}[:, {slot}]" for slot in places]
    joints = np.stack([to_joints(keypoints[:, slot], names[slot]) for slot in places], axis=1)  # [F, P, J, 3]
    present = np.asarray((~np.isnan(joints[..., 0])).any(axis=2))
    slots = np.flatnonzero(present.any(axis=0)).tolist()
    keeps_order = len(slots) > 1 and keep_order(joints[:, slots, :, :2])
    frames: list[list[Person]] = [[] for _ in joints]
    for slot in slots:
        identity = str(slot) if keeps_order else None
        for frame in np.flatnonzero(present[:, slot]).tolist():
            frames[frame].append(Person(identity, Detection(f"{names[slot]}[{frame}]", joints[frame, slot])))
    return PeopleByFrame(frames)
