"""Which values a request may have, whichever transport and format it came in."""

from collections.abc import Sequence as Items
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import Coordinates, shares_to_pixels
from poselift.missing import HIGHEST_SCORE, LOWEST_SCORE
from poselift.plausibility import Timing
from poselift.sequence import MAX_POSITION_M, MAX_POSITION_PX
from poselift_service.errors import InvalidRequest

MIN_FPS, MAX_FPS = 0.1, 10_000.0
MAX_IMAGE_PX = 100_000
MAX_NAME_CHARACTERS = 256
MAX_TRACK_ID_CHARACTERS = 128
# The largest integer that JavaScript, and whoever reads JSON into doubles, represents exactly.
MAX_INTEGER = 2**53 - 1
NEXT_FRAME_INDEX_REFUSAL = "It is the number of frames that were sent, from 0 to 2^53 - 1."

Timestamps = Items[float] | NDArray[np.float64]


class FramesPath(NamedTuple):
    """Where a request has its keypoints, for what is said about them.

    Attributes:
        field: name of the field that has an entry for each frame.
        entry_field: field of an entry that holds the keypoints, such as `.keypoints`; empty where the entry does.
    """

    field: str
    entry_field: str = ""

    def frame(self, number: int) -> str:
        """The keypoints of one frame."""
        return f"{self.field}[{number}]{self.entry_field}"

    def seen(self, keypoints: NDArray[np.floating]) -> str:
        """Keypoints [F, J, 3] of which all that were seen are at fault: the field, or the first frame that has any."""
        if not self.entry_field:
            return self.field
        return self.frame(0 if len(keypoints) == 1 else int((~np.isnan(keypoints[..., 0])).any(axis=1).argmax()))


KEYPOINTS_FIELD = FramesPath("keypoints")
"""Where a request about one person has them in JSON."""


def check_keypoints(keypoints: NDArray[np.floating], path: FramesPath) -> None:
    """Refuse values that cannot be detections.

    Args:
        keypoints: [F, J, 3] x and y in pixels, score; x and y NaN where a joint is missing.
    Raises:
        InvalidRequest: a position or a score is out of range; the path names the first one.
    """
    if (wrong := _first_out_of_range(keypoints, *_keypoint_bounds(keypoints.shape[1]))) is None:
        return
    frame, joint, column = wrong
    position = f"a position lies within {MAX_POSITION_PX:g} px"
    allowed = "a score lies in [0, 1], not in percent" if column == 2 else position
    raise InvalidRequest(
        f"The value {keypoints[wrong]:g} cannot be used: {allowed}.",
        path=f"{path.frame(frame)}[{joint}][{column}]",
    )


def in_pixels(
    keypoints: NDArray[np.float32], coordinates: Coordinates, width_px: float, height_px: float, path: FramesPath
) -> NDArray[np.float32]:
    """Keypoints [F, J, 3] that `check_keypoints` has accepted, in pixels.

    Raises:
        InvalidKeypoints: they are said to be shares of the picture, and are pixels.
        InvalidRequest: a position is out of range; the path names the first one.
    """
    if coordinates == "pixels":
        return keypoints
    pixels = shares_to_pixels(keypoints, width_px, height_px)
    check_keypoints(pixels, path)
    return pixels


def check_poses(joints: NDArray[np.floating], path: str) -> None:
    """As `check_keypoints`, for positions [F, J, 3] in metres, NaN where a joint is missing."""
    highest = np.full(3 * joints.shape[1], MAX_POSITION_M, np.float32)
    if (wrong := _first_out_of_range(joints, -highest, highest)) is None:
        return
    frame, joint, axis = wrong
    raise InvalidRequest(
        f"The value {joints[wrong]:g} cannot be used: a position lies within {MAX_POSITION_M:g} m.",
        path=f"{path}[{frame}][{joint}][{axis}]",
    )


def _first_out_of_range(
    values: NDArray[np.floating], lowest: NDArray[np.float32], highest: NDArray[np.float32]
) -> tuple[int, int, int] | None:
    """The index of the first of values [F, J, 3] that is beyond bounds [3 J]; None when all are within."""
    numbers = values.reshape(-1, len(lowest))  # comparing rows of three takes ten times as long
    # Written so that NaN, which marks a missing joint, passes.
    wrong = (numbers < lowest) | (numbers > highest)
    if b"\1" not in wrong.tobytes():  # for a few numbers, `any` takes longer than everything else here
        return None
    frame, joint, column = (int(place) for place in np.argwhere(wrong.reshape(values.shape))[0])
    return frame, joint, column


@lru_cache(maxsize=16)
def _keypoint_bounds(joints: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest value [3 J] of x, y and score of each joint."""
    lowest = (-MAX_POSITION_PX, -MAX_POSITION_PX, LOWEST_SCORE)
    highest = (MAX_POSITION_PX, MAX_POSITION_PX, HIGHEST_SCORE)
    return np.array(lowest * joints, np.float32), np.array(highest * joints, np.float32)


def check_timing(fps: float | None, timestamps_s: Timestamps | None) -> None:
    """Refuse a request that gives no time of its frames, or gives it twice, or whose timestamps do not increase.

    Raises:
        InvalidRequest: the path names the field, or the first timestamp, at fault.
    """
    if (fps is None) == (timestamps_s is None):
        raise InvalidRequest("Either fps or timestamps_s must be given, and not both.", path="fps")
    if timestamps_s is not None and len(falls := np.flatnonzero(np.diff(timestamps_s) <= 0)):
        raise InvalidRequest("Timestamps must increase from frame to frame.", path=f"timestamps_s[{int(falls[0]) + 1}]")


def check_next_frame_index(number: int | None) -> None:
    """Refuse a number of frames that no client can have sent to a session.

    Args:
        number: as the client says it, at the end of its stream; None if it does not.
    Raises:
        InvalidRequest: it is not in [0, MAX_INTEGER].
    """
    if number is not None and not 0 <= number <= MAX_INTEGER:
        raise InvalidRequest(NEXT_FRAME_INDEX_REFUSAL, path="next_frame_index")


def timing_field(fps: float | None) -> Timing:
    """The field that gives the times of a request's frames."""
    return "timestamps_s" if fps is None else "fps"


def check_distinct(track_ids: Items[str]) -> None:
    """Refuse tracks of which two have the same name.

    Raises:
        InvalidRequest: the path names the second of them.
    """
    seen: set[str] = set()
    for number, track_id in enumerate(track_ids):
        if track_id in seen:
            raise InvalidRequest(f"The track {track_id!r} appears twice.", path=f"tracks[{number}].track_id")
        seen.add(track_id)
