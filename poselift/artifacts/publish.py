"""Publish artifacts: each call writes the next version, and readers see all of it or nothing."""

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import safetensors.torch
import torch

from poselift.artifacts.files import folder_at, store_at, sync_folder, write_durably
from poselift.artifacts.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from poselift.artifacts.object_store import ObjectStore
from poselift.lifters.lifter import Lifter

AnyLocation = TypeVar("AnyLocation", Path, str)


def publish(
    repository: AnyLocation, draft: Manifest, lifter: Lifter, *, extra_files: Mapping[str, bytes] = {}
) -> AnyLocation:
    """Write the next version of an artifact.

    Args:
        draft: the manifest; its version and digest are set here, its network comes from the lifter's configuration.
        extra_files: further files by name, for tools that know them.
    Returns:
        The location of the new version, whose number is one above every number that is taken.
    Raises:
        OSError: the repository cannot be written to.
        UnreachableRepository: the object store cannot be reached.
    """
    state = {key: value.contiguous() for key, value in cast(torch.nn.Module, lifter).state_dict().items()}
    weights = safetensors.torch.save(state)
    draft = draft.model_copy(
        update={
            "network": dataclasses.asdict(lifter.config),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
    )
    files = {**extra_files, WEIGHTS_FILE: weights}
    if isinstance(repository, Path):
        return _publish_in_folder(repository, draft, files)
    if store := store_at(repository):
        return _upload(store, draft, files)
    return str(_publish_in_folder(folder_at(repository), draft, files))


def _publish_in_folder(repository: Path, draft: Manifest, files: Mapping[str, bytes]) -> Path:
    model_folder = repository / draft.name
    model_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_folder, prefix=".publishing-") as scratch:
        while True:
            # Above every number there is, including those of broken copies and unfinished clean-ups.
            taken = (int(path.name) for path in model_folder.iterdir() if path.name.isdecimal())
            version = max(taken, default=0) + 1
            folder = Path(scratch) / str(version)
            folder.mkdir()
            for name, content in {**files, MANIFEST_FILE: draft.to_json(version)}.items():
                write_durably(folder / name, content)
            sync_folder(folder)
            try:
                folder.rename(model_folder / str(version))
            except OSError:  # another job published this version in the meantime
                if not (model_folder / str(version)).exists():
                    raise
                shutil.rmtree(folder)
                continue
            sync_folder(model_folder)
            return model_folder / str(version)


def _upload(store: ObjectStore, draft: Manifest, files: Mapping[str, bytes]) -> str:
    """Write the weights first and the manifest last.

    Creating the weights reserves the version number; until the manifest is there, readers do not see the version.
    """
    taken = [name.split("/")[1] for name in store.names() if name.startswith(f"{draft.name}/")]
    version = max((int(number) for number in taken if number.isdecimal()), default=0) + 1
    while True:
        prefix = f"{draft.name}/{version}"
        try:
            store.create(f"{prefix}/{WEIGHTS_FILE}", files[WEIGHTS_FILE])
            break
        except FileExistsError:
            version += 1
    for name in files.keys() - {WEIGHTS_FILE}:
        store.write(f"{prefix}/{name}", files[name])
    store.write(f"{prefix}/{MANIFEST_FILE}", draft.to_json(version))
    return f"{store.url}/{prefix}"
