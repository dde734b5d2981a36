"""Versioned model artifacts: published once, never rewritten, loaded without running anything they contain.

<repository>/<name>/<version>/manifest.json      everything needed to rebuild and to use the network
<repository>/<name>/<version>/model.safetensors  its weights
<repository>/<name>/labels.json                  {"stable": 3, "canary": 4}

A repository is a folder, or a place in an object store such as `s3://bucket/prefix`. What is loaded from a store is
copied to a folder of this machine, and found there the next time.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poselift import lifters
from poselift.artifacts.object_store import ObjectStore
from poselift.errors import InvalidArtifact, PoseliftError
from poselift.lifters import Lifter, Task
from poselift.skeletons import Skeleton, skeleton

WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.json"
# What a bare name means, where a repository has this label for it.
DEFAULT_LABEL = "stable"
# Unlike any version number, so that `name@...` is never ambiguous.
_LABEL = re.compile(r"[a-z][a-z0-9._-]{0,62}")

# A folder, or the address of a place in an object store.
Place = str | os.PathLike[str]
AnyPlace = TypeVar("AnyPlace", Path, str)


class Screen(BaseModel):
    """The picture size that pixels are normalised with; None means the size of the caller's picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_px: float | None = Field(default=None, gt=0)
    height_px: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Screen":
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError("a fixed picture size needs both its width and its height")
        return self


class DataSource(BaseModel):
    """Where training data came from, and under which terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    licence: str


class Manifest(BaseModel):
    """What a network is, what it takes and gives, and where it came from.

    The network is rebuilt from `system` and `network` alone. Windows hold samples `temporal_stride / frame_rate_hz`
    seconds apart; when they are `smoothed`, each is the mean with those `1 / frame_rate_hz` seconds before and after
    it. A keypoint with a score below `score_threshold` is missing. The network's output times `unit_m` is metres.
    `missing_joints` says what happens to a missing joint: "token", the network has a learnt token for it; "hold", it
    keeps its last seen position.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: int = Field(default=0, ge=0)
    system: str
    network: dict[str, Any]
    input_skeleton: str
    output_skeleton: str
    screen: Screen = Screen()
    frame_rate_hz: float = Field(gt=0)
    temporal_stride: int = Field(ge=1)
    smoothed: bool = False
    score_threshold: float = Field(default=0.3, ge=0, le=1)
    unit_m: float = Field(default=1.0, gt=0)
    missing_joints: Literal["token", "hold"]
    recipe: dict[str, Any] = {}
    data: tuple[DataSource, ...] = ()
    attribution: str = ""
    code_revision: str = ""
    scores: tuple[dict[str, Any], ...] = ()
    weights_sha256: str = ""

    @model_validator(mode="after")
    def _skeletons_exist(self) -> "Manifest":
        try:
            skeleton(self.input_skeleton)
            target = skeleton(self.output_skeleton)
        except PoseliftError as error:
            raise ValueError(error.message) from None
        if target.root is None:
            raise ValueError(f"poses cannot be relative to the pelvis in {target.name}, which has none")
        completes = self.system in lifters.SYSTEMS and self.task is Task.COMPLETE
        if completes and self.input_skeleton != self.output_skeleton:
            raise ValueError("poses are completed in the skeleton that they come in")
        return self

    @property
    def source(self) -> Skeleton:
        """The skeleton the network takes."""
        return skeleton(self.input_skeleton)

    @property
    def target(self) -> Skeleton:
        """The skeleton the network answers in."""
        return skeleton(self.output_skeleton)

    @property
    def task(self) -> Task:
        """What the network does."""
        return lifters.SYSTEMS[self.system].task

    def require(self, task: Task) -> None:
        """Raises:
        InvalidArtifact: the network does something else.
        """
        if self.task is not task:
            raise InvalidArtifact(f"The model {self.name} {self.task.done}; here one is needed that {task.done}.")

    @property
    def sequence_to_sequence(self) -> bool:
        """Whether the network answers with a pose for every frame of a window, not for its middle frame alone."""
        return bool(lifters.SYSTEMS[self.system].config.sequence_to_sequence)

    @property
    def expected_error(self) -> bool:
        """Whether the network knows how far each joint is likely to be off."""
        return bool(self.network.get("expected_error", False))

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Joints and coordinates of a frame, as the network takes it."""
        return self.source.n_joints, self.task.dimensions

    @property
    def digest(self) -> str:
        """Short name of the exact weights."""
        return self.weights_sha256[:16]

    @property
    def identity(self) -> str:
        """Short name of exactly this artifact, for keys: the same weights may be published for several uses."""
        return hashlib.sha256(f"{self.name}@{self.version} {self.weights_sha256}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """A manifest and the network it describes, on the CPU, in evaluation mode."""

    manifest: Manifest
    lifter: Lifter


class Published(NamedTuple):
    """One artifact of a repository, as its folders and labels tell."""

    name: str
    version: int
    labels: tuple[str, ...]
    place: Place

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def load_artifact(place: Place) -> Artifact:
    """Load a published artifact after checking its weights against the digest in its manifest.

    Args:
        place: the folder `<repository>/<name>/<version>`, or its address.
    Raises:
        InvalidArtifact: a file is missing, altered, of an unknown format version, or does not fit the network.
        UnreachableRepository: its store cannot be reached.
    """
    folder = local_folder(place)
    manifest, weights = _read_verified(folder)
    lifter = lifters.build(manifest.system, manifest.network)
    module = cast(torch.nn.Module, lifter)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except Exception as error:  # safetensors and torch raise several unrelated kinds for a file that does not fit
        raise InvalidArtifact(f"The weights in {folder} do not fit the network of its manifest: {error}") from error
    module.eval().requires_grad_(False)
    return Artifact(manifest, lifter)


def read_manifest(place: Place) -> Manifest:
    """Read and check `manifest.json` alone.

    The folder must carry the manifest's name and version, wherever the repository lies: answers and stored sessions
    name an artifact by them.

    Raises:
        InvalidArtifact: it is missing, no JSON, of an unknown format version, describes no network that can be built,
            or lies in the folder of another artifact; the first field at fault is named.
        UnreachableRepository: its store cannot be reached.
    """
    try:
        content = _read(place, MANIFEST_FILE)
    except OSError as error:
        raise InvalidArtifact(f"There is no artifact in {place}: {MANIFEST_FILE} cannot be read.") from error
    return _parse_manifest(content, place)


def _parse_manifest(content: bytes, place: Place) -> Manifest:
    file = f"{str(place).rstrip('/')}/{MANIFEST_FILE}"
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidArtifact(f"The manifest {file} is not valid: {field}: {first['msg']}.") from error
    try:
        lifters.configure(manifest.system, manifest.network)
    except InvalidArtifact as error:
        raise InvalidArtifact(f"The manifest {file} is not valid: {error.message}", path=error.path) from error
    folder = Path(place).absolute()  # of an address, too, the last two steps are what counts
    if (folder.parent.name, folder.name) != (manifest.name, str(manifest.version)):
        raise InvalidArtifact(
            f"The artifact in {place} is {manifest.name}@{manifest.version} by its manifest, so it must lie in "
            f"{manifest.name}/{manifest.version}."
        )
    return manifest


def verify(place: Place) -> Manifest:
    """Check an artifact's manifest and the digest of its weights, where it lies, without building the network.

    Raises:
        InvalidArtifact, UnreachableRepository: as `load_artifact`.
    """
    return _read_verified(place)[0]


def _read_verified(place: Place) -> tuple[Manifest, bytes]:
    manifest = read_manifest(place)
    try:
        weights = _read(place, WEIGHTS_FILE)
    except OSError as error:
        raise InvalidArtifact(f"The artifact {place} has no readable {WEIGHTS_FILE}.") from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise InvalidArtifact(f"The weights in {place} are not those of its manifest: their SHA-256 differs.")
    return manifest, weights


def _read(place: Place, file: str) -> bytes:
    store = _store(place)
    return (_folder(place) / file).read_bytes() if store is None else store.read(file)


def local_folder(place: Place) -> Path:
    """The folder of an artifact; one in a store is first copied, intact, to where it is found again the next time.

    Raises:
        InvalidArtifact: there is none in the store, or it is broken, or the copy cannot be written.
        UnreachableRepository: its store cannot be reached.
    """
    store = _store(place)
    if store is None:
        return _folder(place)
    manifest = read_manifest(place)
    # Of the whole manifest, because the same weights may be published again for another use.
    key = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()[:32]
    home = copies_folder() / key
    folder = home / manifest.name / str(manifest.version)
    if _is_intact(folder):
        return folder
    try:
        _copy(store, folder, home)
    except OSError as error:
        raise InvalidArtifact(
            f"The copy of {place} cannot be kept in {home.parent}: {error.strerror or error}; "
            "the environment variable XDG_CACHE_HOME names another place."
        ) from error
    return folder


def copy(published: Published, repository: Path) -> Path:
    """Copy a version, intact, with its number and its labels, into a folder that is a repository or becomes one.

    Returns:
        The folder of the version, which is left alone where it is there and intact.
    Raises:
        InvalidArtifact: it is broken.
        UnreachableRepository: its store cannot be reached.
        OSError: the folder cannot be written to.
    """
    folder = repository / published.name / str(published.version)
    if not _is_intact(folder):
        store = _store(published.place) or ObjectStore(f"file://{_folder(published.place).absolute()}")
        _copy(store, folder, folder)
    for label in published.labels:
        set_label(repository, published.name, label, published.version)
    return folder


def copies_folder() -> Path:
    """Where copies of artifacts from object stores are kept; it may be emptied at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poselift"


def _is_intact(folder: Path) -> bool:
    try:
        verify(folder)
    except InvalidArtifact:
        return False
    return True


def _copy(store: ObjectStore, folder: Path, home: Path) -> None:
    """Copy an artifact into `folder` below `home`, which appears whole or not at all."""
    home.parent.mkdir(parents=True, exist_ok=True)
    _, weights = _read_verified(store.url)
    small = [name for name in store.names() if "/" not in name and name != WEIGHTS_FILE]
    files = {WEIGHTS_FILE: weights, **{name: store.read(name) for name in small}}
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".copying-") as scratch:
        copy = Path(scratch) / home.name
        target = copy / folder.relative_to(home)
        target.mkdir(parents=True)
        for name, content in files.items():
            _write_durably(target / name, content)
        if not _is_intact(folder):  # it may be by now, and another process may be reading it
            shutil.rmtree(home, ignore_errors=True)
        try:
            copy.rename(home)
        except OSError:
            if not _is_intact(folder):
                raise


def publish(repository: AnyPlace, draft: Manifest, lifter: Lifter, *, beside: Mapping[str, bytes] = {}) -> AnyPlace:
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
    store = _store(repository)
    return str(_publish_in_folder(_folder(repository), draft, files)) if store is None else _upload(store, draft, files)


def _publish_in_folder(repository: Path, draft: Manifest, files: Mapping[str, bytes]) -> Path:
    home = repository / draft.name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".publishing-") as scratch:
        while True:
            # Above whatever is there, also what a broken copy or an unfinished clean-up has left.
            version = max((int(path.name) for path in home.iterdir() if path.name.isdecimal()), default=0) + 1
            folder = Path(scratch) / str(version)
            folder.mkdir()
            for name, content in {**files, MANIFEST_FILE: _written(draft, version)}.items():
                _write_durably(folder / name, content)
            _sync_folder(folder)
            try:
                folder.rename(home / str(version))
            except OSError:  # another job published this version in the meantime
                if not (home / str(version)).exists():
                    raise
                shutil.rmtree(folder)
                continue
            _sync_folder(home)
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
    store.write(f"{home}/{MANIFEST_FILE}", _written(draft, version))
    return f"{store.url}/{home}"


def _written(draft: Manifest, version: int) -> bytes:
    return (draft.model_copy(update={"version": version}).model_dump_json(indent=2) + "\n").encode()


def set_label(repository: Place, name: str, label: str, version: int) -> None:
    """Point a label at a published version, atomically. Of several that set labels of one model at once, the last wins.

    Raises:
        InvalidArtifact: there is no such version, or a label cannot be named so.
        OSError: the repository cannot be written to.
        UnreachableRepository: its store cannot be reached.
    """
    if not _LABEL.fullmatch(label):
        raise InvalidArtifact(
            f"A label starts with a letter and has up to 63 small letters, digits, dots, dashes and underscores, "
            f"unlike {label!r}."
        )
    if version not in _versions(repository).get(name, ()):
        raise InvalidArtifact(f"{name} has no version {version} in {repository}.")
    labels = {**_labels(repository, name), label: version}
    content = (json.dumps(labels, indent=2, sort_keys=True) + "\n").encode()
    if store := _store(repository):
        store.write(f"{name}/{LABELS_FILE}", content)
        return
    home = _folder(repository) / name
    scratch = home / f".{LABELS_FILE}.{os.getpid()}"
    _write_durably(scratch, content)
    scratch.replace(home / LABELS_FILE)
    _sync_folder(home)


def list_artifacts(repository: Place) -> list[Published]:
    """All published artifacts of a repository, by name and version.

    Raises:
        InvalidArtifact: the labels of a model cannot be read.
        UnreachableRepository: its store cannot be reached.
    """
    root = _folder(repository) if (store := _store(repository)) is None else store.url
    found = []
    for name, versions in sorted(_versions(repository).items()):
        labels = _labels(repository, name)
        for version in sorted(versions):
            names = tuple(sorted(label for label, labelled in labels.items() if labelled == version))
            place = root / name / str(version) if isinstance(root, Path) else f"{root}/{name}/{version}"
            found.append(Published(name, version, names, place))
    return found


def look_up(repository: Place, reference: str) -> Published:
    """Find `name`, `name@version` or `name@label` in a repository.

    A bare name means the version that is labelled `stable`, or the newest one where none is.

    Raises:
        InvalidArtifact: there is no such artifact; the message says what there is.
        UnreachableRepository: its store cannot be reached.
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


def find_artifact(repository: Place, reference: str) -> Path:
    """The folder of the artifact that `look_up` finds; one in a store is copied first, as `local_folder` does.

    Raises:
        InvalidArtifact, UnreachableRepository: as those two.
    """
    return local_folder(look_up(repository, reference).place)


def _versions(repository: Place) -> dict[str, set[int]]:
    """The published versions of every name."""
    if store := _store(repository):
        files = store.names()
    else:
        folder = _folder(repository)
        files = [path.relative_to(folder).as_posix() for path in folder.glob(f"*/*/{MANIFEST_FILE}")]
    versions: dict[str, set[int]] = {}
    for file in files:
        match file.split("/"):
            case [name, version, file_name] if file_name == MANIFEST_FILE and version.isdecimal():
                versions.setdefault(name, set()).add(int(version))
    return versions


def _labels(repository: Place, name: str) -> dict[str, int]:
    file = f"{name}/{LABELS_FILE}"
    try:
        return {str(label): int(version) for label, version in json.loads(_read(repository, file)).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidArtifact(f"The labels in {repository}/{file} are not an object of version numbers.") from error


def _store(place: Place) -> ObjectStore | None:
    """The object store that an address names; None for a folder."""
    text = os.fspath(place)
    return ObjectStore(text) if "://" in text and not text.startswith("file://") else None


def _folder(place: Place) -> Path:
    return Path(os.fspath(place).removeprefix("file://"))


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
