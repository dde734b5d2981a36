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


def read_file(location: Location, name: str) -> bytes:
    """Read a file of a folder or of an object store.

    Raises:
        OSError: it cannot be read; FileNotFoundError if it is not there.
        UnreachableRepository: the object store cannot be reached.
    """
    store = store_at(location)
    return (folder_at(location) / name).read_bytes() if store is None else store.read(name)


def write_durably(file: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
