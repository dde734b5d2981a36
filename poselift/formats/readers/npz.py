"""Keypoints, and 3D poses, as NumPy archives."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.pose_recording import PoseFrames, PoseRecording
from poselift.formats.readers.recording import Detection, Recording, name, positive, size_px

_KEYPOINTS = ("keypoints", "kpts")

Arrays = dict[str, NDArray[Any]]


def is_npz(path: Path) -> bool:
    """Whether a file is a NumPy archive."""
    return zipfile.is_zipfile(path)


def read_keypoint_npz(path: Path) -> Recording:
    """Read an npz with `keypoints` (or `kpts`) [F, J, 2 or 3]; a NaN is a missing joint.

    It may also hold `skeleton` (text), `fps`, `image_size` (width, height) and `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    arrays = _read_arrays(path)
    key = next((key for key in _KEYPOINTS if key in arrays), None)
    if key is None:
        raise InvalidFile(f"it has no array keypoints, only: {', '.join(arrays) or 'nothing'}.", path="keypoints")
    detections = [Detection(f"{key}[{frame}]", rows) for frame, rows in enumerate(_rows(arrays[key], key, (2, 3)))]
    return Recording(
        [(None, detections)],
        skeleton=name(_scalar(arrays, "skeleton"), "skeleton"),
        fps=positive(_scalar(arrays, "fps"), "fps"),
        image_size=size_px(_scalar(arrays, "image_size"), "image_size"),
        timestamps_s=_timestamps(arrays),
    )


def read_pose_npz(path: Path) -> PoseRecording:
    """Read an npz with `poses` [F, J, 3] in metres; a NaN is a missing joint.

    Several people are `<track_id>/poses`, for each of `track_ids`, as `write_npz` writes them. It may also hold
    `skeleton` (text), `fps` and `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    arrays = _read_arrays(path)
    track_ids = arrays.get("track_ids", np.array([])).ravel().tolist()
    keys: list[tuple[str | None, str]] = [(str(track_id), f"{track_id}/poses") for track_id in track_ids] or [
        (None, "poses")
    ]
    if missing := [key for _, key in keys if key not in arrays]:
        raise InvalidFile(f"it has no array {missing[0]}, only: {', '.join(arrays) or 'nothing'}.", path=missing[0])
    people = [PoseFrames(track_id, key, _rows(arrays[key], key, (3,))) for track_id, key in keys]
    return PoseRecording(
        people,
        skeleton=name(_scalar(arrays, "skeleton"), "skeleton"),
        fps=positive(_scalar(arrays, "fps"), "fps"),
        timestamps_s=_timestamps(arrays),
    )


def _read_arrays(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            # Members of the archive that are no arrays are returned as bytes.
            return {key: array for key in archive.files if isinstance(array := archive[key], np.ndarray)}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidFile(f"it is not an archive of plain arrays: {error}") from error


def _rows(array: NDArray[Any], key: str, widths: tuple[int, ...]) -> list[list[list[float] | None]]:
    """The rows of an array [F, J, one of `widths`], frame by frame; None for a row with a NaN."""
    if array.ndim != 3 or array.shape[2] not in widths or array.dtype.kind not in "fiu" or not len(array):
        width, found = " or ".join(map(str, widths)), f"{array.dtype} {list(array.shape)}"
        raise InvalidFile(f"{key} must be numbers [frames, joints, {width}], not {found}.", path=key)
    return [[None if any(map(math.isnan, row)) else row for row in rows] for rows in array.tolist()]


def _scalar(arrays: Arrays, key: str) -> Any:
    return arrays[key].tolist() if key in arrays else None


def _timestamps(arrays: Arrays) -> list[float] | None:
    times = arrays.get("timestamps_s")
    if times is None:
        return None
    if times.dtype.kind not in "fiu":
        raise InvalidFile(f"timestamps_s must be numbers of seconds, not {times.dtype}.", path="timestamps_s")
    seconds: list[float] = times.astype(np.float64).ravel().tolist()
    return seconds
