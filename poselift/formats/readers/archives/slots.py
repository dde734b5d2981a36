"""People who have a place of their own on an axis of an array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.formats.readers.recording import Detection, PeopleByFrame, Person


def people_in_slots(keypoints: NDArray[Any], field: str) -> PeopleByFrame:
    """The people of an array; a place where nobody is holds NaN or 0, and a place that is always so is left out.

    Args:
        keypoints: [F, J, 2 or 3] of one person, or [F, P, J, 2 or 3].
        field: the name of the array.
    """
    if keypoints.ndim == 3:
        keypoints = keypoints[:, None]
    with np.errstate(over="ignore"):  # infinity is refused with its place
        keypoints = np.asarray(keypoints, dtype=np.float32)
    seen = ~np.isnan(keypoints[..., :2]).any(axis=-1) & keypoints[..., :2].any(axis=-1)  # [F, P, J]
    present = seen.any(axis=2)
    slots = np.flatnonzero(present.any(axis=0)).tolist()
    keeps_order = len(slots) > 1 and _keeps_order(keypoints[:, slots, :, :2], seen[:, slots])
    frames: list[list[Person]] = [[] for _ in keypoints]
    for slot in slots:
        name = field if keypoints.shape[1] == 1 else f"{field}[:, {slot}]"
        identity = str(slot) if keeps_order else None
        for frame in np.flatnonzero(present[:, slot]).tolist():
            frames[frame].append(Person(identity, Detection(f"{name}[{frame}]", keypoints[frame, slot])))
    return PeopleByFrame(frames)


def _keeps_order(positions: NDArray[np.float32], seen: NDArray[np.bool_]) -> bool:
    """Whether everybody stays nearest to their own last position.

    Args:
        positions: [F, P, J, 2].
        seen: [F, P, J].
    """
    count = seen.sum(axis=2)
    with np.errstate(invalid="ignore"):
        centres = np.where(seen[..., None], positions, 0).sum(axis=2) / count[..., None]  # NaN where nobody is
    last = centres[0]
    for now in centres[1:]:
        distances = np.linalg.norm(now[:, None] - last[None], axis=-1)  # [now, before]
        own = np.diagonal(distances)
        if (distances < own[:, None]).any():
            return False
        last = np.where(np.isnan(now), last, now)
    return True
