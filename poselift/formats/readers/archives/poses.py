"""3D poses as NumPy archives."""

import math
from pathlib import Path

from poselift.formats.readers.archives.archive import Arrays, check_numbers, opened, require, scalar, timestamps
from poselift.formats.readers.pose_recording import PoseFrames, PoseRecording
from poselift.formats.readers.recording import name, positive, whole


def read_pose_npz(path: Path) -> PoseRecording:
    """Read an npz with `poses` [F, J, 3] in metres; a NaN is a missing joint.

    Several people are `<track_id>/poses`, for each of `track_ids`, as `write_npz` writes them. It may also hold
    `skeleton` (text), `first_frame`, and `fps` or `timestamps_s` [F], of which people may have their own.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    with opened(path) as archive:
        track_ids = archive["track_ids"].ravel().tolist() if "track_ids" in archive else []
        keys: list[tuple[str | None, str]] = [
            (str(track_id), require(archive, f"{track_id}/poses")) for track_id in track_ids
        ] or [(None, require(archive, "poses"))]
        return PoseRecording(
            [_frames(archive, track_id, key) for track_id, key in keys],
            skeleton=name(scalar(archive, "skeleton"), "skeleton"),
            fps=positive(scalar(archive, "fps"), "fps"),
            timestamps_s=timestamps(archive),
        )


def _frames(arrays: Arrays, track_id: str | None, key: str) -> PoseFrames:
    prefix = key.removesuffix("poses")
    return PoseFrames(
        track_id,
        key,
        _rows(arrays, key),
        whole(scalar(arrays, f"{prefix}first_frame"), f"{prefix}first_frame") or 0,
        positive(scalar(arrays, f"{prefix}fps"), f"{prefix}fps"),
        timestamps(arrays, prefix),
    )


def _rows(arrays: Arrays, key: str) -> list[list[list[float] | None]]:
    """The rows of an array [F, J, 3], frame by frame; None for a row with a NaN."""
    array = arrays[key]
    check_numbers(array, key, (3,), (3,))
    return [[None if any(map(math.isnan, row)) else row for row in rows] for rows in array.tolist()]
