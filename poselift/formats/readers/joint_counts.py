"""Which skeleton detections are of, by the number of their joints."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints
from poselift.formats.readers.detection import Detection
from poselift.skeletons import SKELETONS, skeleton

# As detectors mean them who do not say it; other skeletons have as many joints, but are those of lifters.
_BY_COUNT = {
    17: "coco17",
    18: "coco18",
    25: "body25",
    26: "halpe26",
    33: "mediapipe33",
    133: "wholebody133",
    134: "wholebody134",
    136: "halpe136",
}


def skeleton_by_count(detections: Iterable[Detection]) -> str | None:
    """The skeleton of a detector's people; None if they differ, or no detector writes as many joints.

    OpenPose's models BODY_25 and BODY_25B are told apart by where their joints are.
    """
    people = [detection.joints for detection in detections]
    counts = {len(joints) for joints in people}
    if len(counts) != 1:
        return None
    (count,) = counts
    if count == 25 and _is_body25b(np.stack(people)[..., :2]):
        return "body25b"
    return _BY_COUNT.get(count)


def skeleton_of_numbers(detections: Iterable[Detection]) -> str | None:
    """The skeleton of joints that somebody has put into an array or a table, by their number.

    None for 17 joints, which may be those of a detector or of a lifter, and as `skeleton_by_count`.
    """
    name = skeleton_by_count(detections)
    return None if name == "coco17" else name


def _is_body25b(positions: NDArray[np.float32]) -> bool:
    """Whether positions [N, 25, 2] are in the order of BODY_25B: the joints 1 to 4 are then eyes and ears.

    In BODY_25 they are the neck and an arm, and the joint 8 lies between the hips, 9 and 12.
    """
    to_nose = np.linalg.norm(positions[:, 1:5] - positions[:, :1], axis=-1)
    to_hips = np.linalg.norm(positions[:, 8] - (positions[:, 9] + positions[:, 12]) / 2, axis=-1)
    if np.isnan(to_nose).all() or np.isnan(to_hips).all():
        return False
    return bool(np.nanmedian(to_nose) < np.nanmedian(to_hips))


def check_counts(detections: Iterable[Detection], name: str | None) -> None:
    """Check that all detections have as many joints as their skeleton.

    Args:
        name: of the skeleton; None if it is not known, and any that has as many will do.
    Raises:
        UnknownSkeleton: there is no such skeleton.
        InvalidKeypoints: the message says how many joints there are, and which skeletons have as many.
    """
    wanted = None if name is None else skeleton(name)
    allowed = {known.n_joints for known in SKELETONS.values()} if wanted is None else {wanted.n_joints}
    for detection in detections:
        count = len(detection.joints)
        if count in allowed:
            continue
        fitting = [known.name for known in SKELETONS.values() if known.n_joints == count]
        known = ", ".join(f"{known.name} ({known.n_joints})" for known in SKELETONS.values())
        unlike = f", not the {wanted.n_joints} of {wanted.name}" if wanted else ""
        advice = f"{', '.join(fitting)} would fit (--skeleton)" if fitting else f"skeletons are {known}"
        raise InvalidKeypoints(f"{detection.field} has {count} joints{unlike}; {advice}.", path=detection.field)
