"""Local copies of artifacts that lie in object stores."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from poselift.artifacts.files import Location, folder_of, object_store, write_durably
from poselift.artifacts.manifest import WEIGHTS_FILE
from poselift.artifacts.object_store import ObjectStore
from poselift.artifacts.repository import Published, set_label
from poselift.artifacts.verify import is_intact, read_manifest, read_verified
from poselift.errors import InvalidArtifact


def local_folder(place: Location) -> Path:
    """The folder of an artifact; one in a store is first copied, intact, to where it is found again the next time.

    Raises:
        InvalidArtifact: there is none in the store, or it is broken, or the copy cannot be written.
        UnreachableRepository: its store cannot be reached.
    """
    store = object_store(place)
    if store is None:
        return folder_of(place)
    manifest = read_manifest(place)
    # Of the whole manifest, because the same weights may be published again for another use.
    key = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()[:32]
    home = cache_folder() / key
    folder = home / manifest.name / str(manifest.version)
    if is_intact(folder):
        return folder
    try:
        _copy(store, folder, home)
    except OSError as error:
        raise InvalidArtifact(
            f"The copy of {place} cannot be kept in {home.parent}: {error.strerror or error}; "
            "the environment variable XDG_CACHE_HOME names another place."
        ) from error
    return folder


def copy_version(published: Published, repository: Path) -> Path:
    """Copy a version, intact, with its number and its labels, into a folder that is a repository or becomes one.

    Returns:
        The folder of the version, which is left alone where it is there and intact.
    Raises:
        InvalidArtifact: it is broken.
        UnreachableRepository: its store cannot be reached.
        OSError: the folder cannot be written to.
    """
    folder = repository / published.name / str(published.version)
    if not is_intact(folder):
        store = object_store(published.place) or ObjectStore(f"file://{folder_of(published.place).absolute()}")
        _copy(store, folder, folder)
    for label in published.labels:
        set_label(repository, published.name, label, published.version)
    return folder


def cache_folder() -> Path:
    """Where copies of artifacts from object stores are kept; it may be emptied at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poselift"


def _copy(store: ObjectStore, folder: Path, home: Path) -> None:
    """Copy an artifact into `folder` below `home`, which appears whole or not at all."""
    home.parent.mkdir(parents=True, exist_ok=True)
    _, weights = read_verified(store.url)
    small = [name for name in store.names() if "/" not in name and name != WEIGHTS_FILE]
    files = {WEIGHTS_FILE: weights, **{name: store.read(name) for name in small}}
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".copying-") as scratch:
        copy = Path(scratch) / home.name
        target = copy / folder.relative_to(home)
        target.mkdir(parents=True)
        for name, content in files.items():
            write_durably(target / name, content)
        if not is_intact(folder):  # it may be by now, and another process may be reading it
            shutil.rmtree(home, ignore_errors=True)
        try:
            copy.rename(home)
        except OSError:
            if not is_intact(folder):
                raise
