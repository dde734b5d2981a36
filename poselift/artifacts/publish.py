"""Publish artifacts."""

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import safetensors.torch
import torch

from poselift.artifacts.files import folder_of, object_store, sync_folder, write_durably
from poselift.artifacts.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from poselift.artifacts.object_store import ObjectStore
from poselift.lifters.lifter import Lifter

AnyLocation = TypeVar("AnyLocation", Path, str)


def publish(
    repository: AnyLocation, draft: Manifest, lifter: Lifter, *, beside: Mapping[str, bytes] = {}
) -> AnyLocation:
    """Write the next version of an artifact; readers see all of it or nothing.

    Args:
        draft: the manifest; its version and digest are set here, its network comes from the lifter's configuration.
        beside: further files by name, for tools that know them.
    Returns:
        The place of the new version, which is one above every number that is taken.
    Raises:
        OSError: the repository cannot be written to.
        UnreachableRepository: its store cannot be reached.
    """
    state = {key: value.contiguous() for key, value in cast(torch.nn.Module, lifter).state_dict().items()}
    weights = safetensors.torch.save(state)
    draft = draft.model_copy(
        update={
            "network": dataclasses.asdict(lifter.config),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
    )
    files = {**beside, WEIGHTS_FILE: weights}
    if isinstance(repository, Path):
        return _publish_in_folder(repository, draft, files)
    store = object_store(repository)
    return (
        str(_publish_in_folder(folder_of(repository), draft, files)) if store is None else _upload(store, draft, files)
    )


def _publish_in_folder(repository: Path, draft: Manifest, files: Mapping[str, bytes]) -> Path:
    home = repository / draft.name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".publishing-") as scratch:
        while True:
            # Above whatever is there, also what a broken copy or an unfinished clean-up has left.
            version = max((int(path.name) for path in home.iterdir() if path.name.isdecimal()), default=0) + 1
            folder = Path(scratch) / str(version)
            folder.mkdir()
            for name, content in {**files, MANIFEST_FILE: _manifest_json(draft, version)}.items():
                write_durably(folder / name, content)
            sync_folder(folder)
            try:
                folder.rename(home / str(version))
            except OSError:  # another job published this version in the meantime
                if not (home / str(version)).exists():
                    raise
                shutil.rmtree(folder)
                continue
            sync_folder(home)
            return home / str(version)


def _upload(store: ObjectStore, draft: Manifest, files: Mapping[str, bytes]) -> str:
    """The weights first: whoever creates that object owns the number. The manifest last: without it nothing is seen."""
    taken = [name.split("/")[1] for name in store.names() if name.startswith(f"{draft.name}/")]
    version = max((int(number) for number in taken if number.isdecimal()), default=0) + 1
    while True:
        home = f"{draft.name}/{version}"
        try:
            store.create(f"{home}/{WEIGHTS_FILE}", files[WEIGHTS_FILE])
            break
        except FileExistsError:
            version += 1
    for name in files.keys() - {WEIGHTS_FILE}:
        store.write(f"{home}/{name}", files[name])
    store.write(f"{home}/{MANIFEST_FILE}", _manifest_json(draft, version))
    return f"{store.url}/{home}"


def _manifest_json(draft: Manifest, version: int) -> bytes:
    return (draft.model_copy(update={"version": version}).model_dump_json(indent=2) + "\n").encode()
