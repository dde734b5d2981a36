"""Where the files of artifacts lie: folders and object stores, behind one kind of location."""

import os
from pathlib import Path

from poselift.artifacts.object_store import ObjectStore

Location = str | os.PathLike[str]
"""A folder, or the address of a prefix in an object store."""


def store_at(location: Location) -> ObjectStore | None:
    """The object store that an address names; None for a folder."""
    text = os.fspath(location)
    return ObjectStore(text) if "://" in text and not text.startswith("file://") else None


def folder_at(location: Location) -> Path:
    """The folder of a location that is no object store."""
    return Path(os.fspath(location).removeprefix("file://"))


def read_file(location: Location, name: str, first: int = 0, end: int | None = None) -> bytes:
    """Read a file of a folder or of an object store.

    Args:
        first, end: the bytes to read; by default all.
    Raises:
        OSError: it cannot be read; FileNotFoundError if it is not there.
        UnreachableRepository: the object store cannot be reached.
    """
    store = store_at(location)
    if store is not None:
        return store.read(name, first, end)
    with (folder_at(location) / name).open("rb") as file:
        file.seek(first)
        return file.read(-1 if end is None else end - first)


def write_durably(file: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk.

    Raises:
        OSError: it cannot be written, for example because the disk is full; the error names the file.
    """
    try:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
