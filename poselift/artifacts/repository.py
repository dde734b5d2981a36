"""Model repositories: the versions and labels they hold, and references to them."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from poselift.artifacts.files import Location, folder_at, read_file, store_at, sync_folder, write_durably
from poselift.artifacts.manifest import MANIFEST_FILE
from poselift.errors import InvalidArtifact

LABELS_FILE = "labels.json"
DEFAULT_LABEL = "stable"
"""The label that a bare name refers to, in a repository that has this label for it."""

# No version number matches, so `name@...` is never ambiguous.
_LABEL = re.compile(r"[a-z][a-z0-9._-]{0,62}")


class Published(NamedTuple):
    """One artifact of a repository, as its folders and labels describe it."""

    name: str
    version: int
    labels: tuple[str, ...]
    location: Location

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def list_artifacts(repository: Location) -> list[Published]:
    """All published artifacts of a repository, by name and version.

    Raises:
        InvalidArtifact: the labels of a model cannot be read.
        UnreachableRepository: the object store cannot be reached.
    """
    root = folder_at(repository) if (store := store_at(repository)) is None else store.url
    found = []
    for name, versions in sorted(_published_versions(repository).items()):
        labels = _read_labels(repository, name)
        for version in sorted(versions):
            names = tuple(sorted(label for label, labelled in labels.items() if labelled == version))
            location = root / name / str(version) if isinstance(root, Path) else f"{root}/{name}/{version}"
            found.append(Published(name, version, names, location))
    return found


def look_up(repository: Location, reference: str) -> Published:
    """Find `name`, `name@version` or `name@label` in a repository.

    A bare name means the version that is labelled `stable`, or the newest one if no version has that label.

    Raises:
        InvalidArtifact: there is no such artifact; the message lists those there are.
        UnreachableRepository: the object store cannot be reached.
    """
    name, at, wanted = reference.partition("@")
    everything = list_artifacts(repository)
    of_name = [published for published in everything if published.name == name]
    if not of_name:
        names = sorted({published.name for published in everything})
        raise InvalidArtifact(f"There is no model {name!r} in {repository}; there are: {', '.join(names) or 'none'}.")
    if not at:
        return next((published for published in of_name if DEFAULT_LABEL in published.labels), of_name[-1])
    for published in of_name:
        if wanted == str(published.version) or wanted in published.labels:
            return published
    known = [str(published.version) for published in of_name] + [label for p in of_name for label in p.labels]
    raise InvalidArtifact(f"The model {name!r} has no version or label {wanted!r}; it has: {', '.join(known)}.")


def set_label(repository: Location, name: str, label: str, version: int) -> None:
    """Point a label at a published version, atomically. Among concurrent calls for one model, the last one wins.

    Raises:
        InvalidArtifact: there is no such version, or the label has a form that is not allowed.
        OSError: the repository cannot be written to.
        UnreachableRepository: the object store cannot be reached.
    """
    if not _LABEL.fullmatch(label):
        raise InvalidArtifact(
            f"A label starts with a letter and has up to 63 small letters, digits, dots, dashes and underscores, "
            f"unlike {label!r}."
        )
    if version not in _published_versions(repository).get(name, ()):
        raise InvalidArtifact(f"{name} has no version {version} in {repository}.")
    labels = {**_read_labels(repository, name), label: version}
    content = (json.dumps(labels, indent=2, sort_keys=True) + "\n").encode()
    if store := store_at(repository):
        store.write(f"{name}/{LABELS_FILE}", content)
        return
    folder = folder_at(repository) / name
    scratch = folder / f".{LABELS_FILE}.{os.getpid()}"
    write_durably(scratch, content)
    scratch.replace(folder / LABELS_FILE)
    sync_folder(folder)


def _published_versions(repository: Location) -> dict[str, set[int]]:
    """The published versions of each name."""
    if store := store_at(repository):
        files = store.names()
    else:
        folder = folder_at(repository)
        files = [path.relative_to(folder).as_posix() for path in folder.glob(f"*/*/{MANIFEST_FILE}")]
    versions: dict[str, set[int]] = {}
    for file in files:
        match file.split("/"):
            case [name, version, file_name] if file_name == MANIFEST_FILE and version.isdecimal():
                versions.setdefault(name, set()).add(int(version))
    return versions


def _read_labels(repository: Location, name: str) -> dict[str, int]:
    file = f"{name}/{LABELS_FILE}"
    try:
        labels = json.loads(read_file(repository, file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArtifact(f"The labels in {repository}/{file} cannot be read as JSON.") from error
    if not isinstance(labels, dict) or any(type(version) is not int for version in labels.values()):
        raise InvalidArtifact(f"The labels in {repository}/{file} are not an object of version numbers.")
    return labels
