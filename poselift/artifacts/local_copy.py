"""Local copies of artifacts: the cache of what object stores hold, and copies from repository to repository."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from poselift.artifacts.files import Location, folder_at, store_at, write_durably
from poselift.artifacts.manifest import WEIGHTS_FILE
from poselift.artifacts.object_store import ObjectStore
from poselift.artifacts.repository import Published, set_label
from poselift.artifacts.verify import is_intact, read_manifest, read_verified
from poselift.errors import InvalidArtifact


def local_folder(location: Location) -> Path:
    """The folder of an artifact; an artifact in an object store is copied to the cache first, unless it is there.

    Raises:
        InvalidArtifact: the store has no such artifact, it is broken, or the copy cannot be written.
        UnreachableRepository: the object store cannot be reached.
    """
    store = store_at(location)
    if store is None:
        return folder_at(location)
    manifest = read_manifest(location)
    # The key is made from the whole manifest, because the same weights may be published again for another use.
    key = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()[:32]
    entry = cache_folder() / key
    folder = entry / manifest.name / str(manifest.version)
    if is_intact(folder):
        return folder
    try:
        _copy(store, folder, entry)
    except OSError as error:
        raise InvalidArtifact(
            f"The copy of {location} cannot be kept in {entry.parent}: {error.strerror or error}; "
            "the environment variable XDG_CACHE_HOME names another place."
        ) from error
    return folder


def cache_folder() -> Path:
    """The folder with copies of artifacts from object stores; it may be emptied at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poselift"


def copy_version(published: Published, repository: Path) -> Path:
    """Copy a version with its number and its labels into another repository, a folder that need not exist.

    Returns:
        The folder of the version, which is not rewritten if it is there and intact.
    Raises:
        InvalidArtifact: the version is broken.
        UnreachableRepository: its object store cannot be reached.
        OSError: the folder cannot be written to.
    """
    folder = repository / published.name / str(published.version)
    if not is_intact(folder):
        store = store_at(published.location) or ObjectStore(f"file://{folder_at(published.location).absolute()}")
        _copy(store, folder, folder)
    for label in published.labels:
        set_label(repository, published.name, label, published.version)
    return folder


def _copy(store: ObjectStore, folder: Path, root: Path) -> None:
    """Copy an artifact into `folder`, which is `root` or below it; `root` appears whole or not at all."""
    root.parent.mkdir(parents=True, exist_ok=True)
    _, weights = read_verified(store.url)
    small = [name for name in store.names() if "/" not in name and name != WEIGHTS_FILE]
    files = {WEIGHTS_FILE: weights, **{name: store.read(name) for name in small}}
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".copying-") as scratch:
        copy = Path(scratch) / root.name
        target = copy / folder.relative_to(root)
        target.mkdir(parents=True)
        for name, content in files.items():
            write_durably(target / name, content)
        if not is_intact(folder):  # another process may have completed it meanwhile, and may be reading it
            shutil.rmtree(root, ignore_errors=True)
        try:
            copy.rename(root)
        except OSError:
            if not is_intact(folder):
                raise
