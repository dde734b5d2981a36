"""Files of artifacts, in folders and in object stores."""

import os
from pathlib import Path

from poselift.artifacts.object_store import ObjectStore

# A folder, or the address of a place in an object store.
Location = str | os.PathLike[str]


def read_file(place: Location, file: str) -> bytes:
    store = object_store(place)
    return (folder_of(place) / file).read_bytes() if store is None else store.read(file)


def object_store(place: Location) -> ObjectStore | None:
    """The object store that an address names; None for a folder."""
    text = os.fspath(place)
    return ObjectStore(text) if "://" in text and not text.startswith("file://") else None


def folder_of(place: Location) -> Path:
    return Path(os.fspath(place).removeprefix("file://"))


def write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
