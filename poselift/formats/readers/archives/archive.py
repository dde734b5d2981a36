"""NumPy archives as mappings from names to arrays, within bounds."""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.pickled import load_pickled

Arrays = Mapping[str, NDArray[Any]]

MAX_NUMBERS = 100_000_000
"""In one array: 9 hours of 17 joints at 60 frames per second are as many. A small archive may unpack to more."""
_MAX_BYTES = 8 * MAX_NUMBERS
_MAX_SCALARS = 16

_NO_NUMBERS = "{0} is cut off, broken, or no array of numbers; save it again: np.savez(path, {0}=...)."

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npz(path: Path) -> bool:
    """Whether a file is a NumPy archive."""
    return zipfile.is_zipfile(path)


class Archive(Arrays):
    """An open npz archive; an array is read when it is asked for, and the others never are."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key not in self._names:
            raise KeyError(key)
        with _translated(key):
            member = self._archive.getinfo(f"{key}.npy")
            with self._archive.open(member) as stream:
                return read_array(stream, member.file_size, key)

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """The shape and the type that an array says it has, without reading it."""
        with _translated(key), self._archive.open(f"{key}.npy") as stream:
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        return shape, dtype


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an npz archive.

    Raises:
        InvalidFile: it is broken; also while it is open.
    """
    with _translated(None):
        archive = zipfile.ZipFile(path)
    with archive:
        yield Archive(archive)


def read_array(stream: IO[bytes], n_bytes: int, key: str) -> NDArray[Any]:
    """Read an array from a file of `n_bytes`, no more than are there; one of objects without running its pickle.

    Raises:
        InvalidFile: the array is too large, or not one of numbers, texts and plain objects.
    """
    if n_bytes > _MAX_BYTES:
        raise InvalidFile(f"{key} has {n_bytes} bytes, more than the {_MAX_BYTES} that are read.", path=key)
    with _translated(key):
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        content = stream.read(n_bytes)
        if dtype.hasobject:
            array = load_pickled(content)
            if not isinstance(array, np.ndarray) or array.shape != shape:
                raise ValueError("the objects are of another shape")
        else:
            if math.prod(shape) * dtype.itemsize > len(content):
                raise ValueError(f"{dtype} {list(shape)} has more than {len(content)} bytes")
            array = np.frombuffer(content, dtype, count=math.prod(shape)) if math.prod(shape) else np.empty(0, dtype)
        shaped: NDArray[Any] = array.reshape(shape, order="F" if fortran else "C")
    return shaped


@contextmanager
def _translated(key: str | None) -> Iterator[None]:
    """Translate what zipfile, zlib and NumPy raise for broken archives, which has no class in common."""
    try:
        yield
    except InvalidFile as error:
        raise InvalidFile(error.message, path=error.path or key) from error
    except Exception as error:
        raise InvalidFile(
            "it is a zip archive that is cut off or broken." if key is None else _NO_NUMBERS.format(key), path=key
        ) from error


def header(arrays: Arrays, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type that an array says it has; one of an archive is not read for it.

    Raises:
        InvalidFile: it does not say so.
    """
    if isinstance(arrays, Archive):
        return arrays.header(key)
    return arrays[key].shape, arrays[key].dtype


def require(arrays: Arrays, *keys: str) -> str:
    """The first of the keys that there is.

    Raises:
        InvalidFile: there is none of them.
    """
    for key in keys:
        if key in arrays:
            return key
    raise InvalidFile(f"it has no array {keys[0]}, only: {', '.join(arrays)[:200] or 'nothing'}.", path=keys[0])


def scalar(arrays: Arrays, key: str) -> Any:
    """A number, a text or a few of them as Python objects; None without such an array.

    Raises:
        InvalidFile: it is a large array.
    """
    if key not in arrays:
        return None
    shape, dtype = header(arrays, key)
    if math.prod(shape) > _MAX_SCALARS:
        raise InvalidFile(f"{key} must be one value, not {dtype} {list(shape)}.", path=key)
    return arrays[key].tolist()


def timestamps(arrays: Arrays, prefix: str = "") -> list[float] | None:
    """`timestamps_s` [F], or None without it; `prefix` says whose, as in `<track_id>/timestamps_s`.

    Raises:
        InvalidFile: they are no numbers.
    """
    key = f"{prefix}timestamps_s"
    if key not in arrays:
        return None
    times = arrays[key]
    if times.dtype.kind not in "fiu":
        raise InvalidFile(f"{key} must be numbers of seconds, not {times.dtype}.", path=key)
    seconds: list[float] = times.astype(np.float64).ravel().tolist()
    return seconds


def check_numbers(array: NDArray[Any], key: str, axes: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Check that an array holds numbers [..., J, one of `widths`], with one of these numbers of axes.

    Raises:
        InvalidFile: it does not, is empty or too large.
    """
    if array.ndim not in axes or array.shape[-1] not in widths or array.dtype.kind not in "fiu" or not array.size:
        width, found = " or ".join(map(str, widths)), f"{array.dtype} {list(array.shape)}"
        raise InvalidFile(f"{key} must be numbers [frames, joints, {width}], not {found}.", path=key)
    if array.size > MAX_NUMBERS:
        raise InvalidFile(f"{key} has {array.size} numbers, more than the {MAX_NUMBERS} that are read.", path=key)
