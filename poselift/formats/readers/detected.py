"""From the people of numbered frames to a recording, as most readers of detectors' files need it."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from poselift.coordinates import Coordinates
from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.joint_counts import skeleton_by_count
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording, by_frame_number

# Shares of the picture may lie somewhat outside of it.
_MAX_SHARE = 3.0


def recording_of(
    found: Mapping[int, list[Person]],
    *,
    skeleton: str | None = None,
    by_count: Callable[[Iterable[Detection]], str | None] = skeleton_by_count,
    coordinates: Coordinates | None = None,
    image_size: tuple[float, float] | None = None,
    fps: float | None = None,
) -> Recording:
    """A recording of the people in each frame.

    Args:
        found: the people of a frame by the frame's number.
        skeleton: of these; None to tell it by the names of the joints, or by their number.
        by_count: tells it by the number.
        coordinates: None to tell it, where the skeleton is MediaPipe's.
    Raises:
        InvalidFile: there are no frames, they cannot be those of one video, or the positions are not in a picture.
    """
    if not found:
        raise InvalidFile("there are no frames in it.")
    detections = [person.detection for people in found.values() for person in people]
    named = next((detection.skeleton for detection in detections if detection.skeleton), None)
    skeleton = skeleton or named or by_count(detections)
    numbered = by_frame_number(dict(found))
    return Recording(
        PeopleByFrame([people or [] for people in numbered.frames]),
        skeleton,
        fps=fps,
        image_size=image_size,
        first_frame=numbered.first_frame,
        coordinates=coordinates or (landmark_coordinates(detections) if skeleton == "mediapipe33" else None),
        warnings=numbered.warnings,
    )


def landmark_coordinates(detections: Iterable[Detection]) -> Coordinates | None:
    """MediaPipe gives shares of the picture, unless somebody has made pixels of them.

    Raises:
        InvalidFile: they are its positions in metres.
    """
    joints = [detection.joints for detection in detections]
    positions = np.concatenate(joints)[:, :2] if joints else np.empty((0, 2))
    positions = positions[~np.isnan(positions[:, 0])]
    if not len(positions) or np.abs(positions).max() > _MAX_SHARE:
        return None
    if np.count_nonzero(positions < 0) > positions.size / 4:
        raise InvalidFile(
            "its positions are metres around the hips (world landmarks); lifting takes the landmarks in the picture "
            "(pose_landmarks)."
        )
    return "normalised"
