"""Keypoints, and 3D poses, as NumPy archives."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.pose_recording import PoseFrames, PoseRecording
from poselift.formats.readers.recording import Detection, Recording, name, positive, size_px

_KEYPOINTS = ("keypoints", "kpts")

_MAX_NUMBERS = 100_000_000
"""In one array: 9 hours of 17 joints at 60 frames per second are as many. A small archive may unpack to more."""
_MAX_BYTES = 8 * _MAX_NUMBERS
_MAX_SCALARS = 16


def is_npz(path: Path) -> bool:
    """Whether a file is a NumPy archive."""
    return zipfile.is_zipfile(path)


class _Archive:
    """An open npz archive; an array is read when it is asked for, and the others never are."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def __contains__(self, key: str) -> bool:
        return key in self.names

    def __getitem__(self, key: str) -> NDArray[Any]:
        member = self._archive.getinfo(f"{key}.npy")
        if member.file_size > _MAX_BYTES:
            raise InvalidFile(
                f"{key} has {member.file_size} bytes, more than the {_MAX_BYTES} that are read.", path=key
            )
        with _translated(key), self._archive.open(member) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array

    def scalar(self, key: str) -> Any:
        """A number, a text or a few of them as Python objects; None without such an array."""
        if key not in self:
            return None
        array = self[key]
        if array.size > _MAX_SCALARS:
            raise InvalidFile(f"{key} must be one value, not {array.dtype} {list(array.shape)}.", path=key)
        return array.tolist()

    def require(self, *keys: str) -> str:
        """The first of the keys that there is.

        Raises:
            InvalidFile: there is none of them.
        """
        for key in keys:
            if key in self:
                return key
        raise InvalidFile(f"it has no array {keys[0]}, only: {', '.join(self.names)[:200] or 'nothing'}.", path=keys[0])


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    with _translated(None):
        archive = zipfile.ZipFile(path)
    with archive:
        yield _Archive(archive)


@contextmanager
def _translated(key: str | None) -> Iterator[None]:
    """Translate what zipfile, zlib and NumPy raise for broken archives, which has no class in common."""
    try:
        yield
    except Exception as error:
        reason = (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
        raise InvalidFile(f"it is not an archive of plain arrays: {reason}.", path=key) from error


def read_keypoint_npz(path: Path) -> Recording:
    """Read an npz with `keypoints` (or `kpts`) [F, J, 2 or 3]; a NaN is a missing joint.

    It may also hold `skeleton` (text), `fps`, `image_size` (width, height) and `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    with _opened(path) as archive:
        key = archive.require(*_KEYPOINTS)
        detections = [Detection(f"{key}[{frame}]", rows) for frame, rows in enumerate(_rows(archive[key], key, (2, 3)))]
        return Recording(
            [(None, detections)],
            skeleton=name(archive.scalar("skeleton"), "skeleton"),
            fps=positive(archive.scalar("fps"), "fps"),
            image_size=size_px(archive.scalar("image_size"), "image_size"),
            timestamps_s=_timestamps(archive),
        )


def read_pose_npz(path: Path) -> PoseRecording:
    """Read an npz with `poses` [F, J, 3] in metres; a NaN is a missing joint.

    Several people are `<track_id>/poses`, for each of `track_ids`, as `write_npz` writes them. It may also hold
    `skeleton` (text), `fps` and `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    with _opened(path) as archive:
        track_ids = archive["track_ids"].ravel().tolist() if "track_ids" in archive else []
        keys: list[tuple[str | None, str]] = [
            (str(track_id), archive.require(f"{track_id}/poses")) for track_id in track_ids
        ] or [(None, archive.require("poses"))]
        return PoseRecording(
            [PoseFrames(track_id, key, _rows(archive[key], key, (3,))) for track_id, key in keys],
            skeleton=name(archive.scalar("skeleton"), "skeleton"),
            fps=positive(archive.scalar("fps"), "fps"),
            timestamps_s=_timestamps(archive),
        )


def _rows(array: NDArray[Any], key: str, widths: tuple[int, ...]) -> list[list[list[float] | None]]:
    """The rows of an array [F, J, one of `widths`], frame by frame; None for a row with a NaN."""
    if array.ndim != 3 or array.shape[2] not in widths or array.dtype.kind not in "fiu" or not len(array):
        width, found = " or ".join(map(str, widths)), f"{array.dtype} {list(array.shape)}"
        raise InvalidFile(f"{key} must be numbers [frames, joints, {width}], not {found}.", path=key)
    if array.size > _MAX_NUMBERS:
        raise InvalidFile(f"{key} has {array.size} numbers, more than the {_MAX_NUMBERS} that are read.", path=key)
    return [[None if any(map(math.isnan, row)) else row for row in rows] for rows in array.tolist()]


def _timestamps(archive: _Archive) -> list[float] | None:
    if "timestamps_s" not in archive:
        return None
    times = archive["timestamps_s"]
    if times.dtype.kind not in "fiu":
        raise InvalidFile(f"timestamps_s must be numbers of seconds, not {times.dtype}.", path="timestamps_s")
    seconds: list[float] = times.astype(np.float64).ravel().tolist()
    return seconds
