"""Keypoints as a NumPy archive."""

import math
import zipfile
from pathlib import Path

import numpy as np

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Detection, Recording, name, positive, size_px

_KEYPOINTS = ("keypoints", "kpts")


def is_npz(path: Path) -> bool:
    return zipfile.is_zipfile(path)


def read_npz(path: Path) -> Recording:
    """Read an npz with `keypoints` (or `kpts`) [F, J, 2 or 3]; a NaN is a missing joint.

    It may also hold `skeleton` (text), `fps`, `image_size` (width, height) and `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            # What is no array comes as bytes.
            arrays = {key: array for key in archive.files if isinstance(array := archive[key], np.ndarray)}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidFile(f"it is not an archive of plain arrays: {error}") from error
    key = next((key for key in _KEYPOINTS if key in arrays), None)
    if key is None:
        raise InvalidFile(f"it has no array keypoints, only: {', '.join(arrays) or 'nothing'}.", path="keypoints")
    keypoints = arrays[key]
    if (
        keypoints.ndim != 3
        or keypoints.shape[2] not in (2, 3)
        or keypoints.dtype.kind not in "fiu"
        or not len(keypoints)
    ):
        found = f"{keypoints.dtype} {list(keypoints.shape)}"
        raise InvalidFile(f"{key} must be numbers [frames, joints, 2 or 3], not {found}.", path=key)
    detections = [
        Detection(f"{key}[{frame}]", [None if any(map(math.isnan, row)) else row for row in rows])
        for frame, rows in enumerate(keypoints.tolist())
    ]
    scalars = {key: array.tolist() for key, array in arrays.items() if key in ("skeleton", "fps", "image_size")}
    times = arrays.get("timestamps_s")
    if times is not None and times.dtype.kind not in "fiu":
        raise InvalidFile(f"timestamps_s must be numbers of seconds, not {times.dtype}.", path="timestamps_s")
    return Recording(
        [(None, detections)],
        skeleton=name(scalars.get("skeleton"), "skeleton"),
        fps=positive(scalars.get("fps"), "fps"),
        image_size=size_px(scalars.get("image_size"), "image_size"),
        timestamps_s=None if times is None else times.astype(np.float64).ravel().tolist(),
    )
