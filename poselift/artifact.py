"""Versioned model artifacts: published once, never rewritten, loaded without running anything they contain.

<repository>/<name>/<version>/manifest.json      everything needed to rebuild and to use the network
<repository>/<name>/<version>/model.safetensors  its weights
<repository>/<name>/labels.json                  {"stable": 3, "canary": 4}
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poselift import lifters
from poselift.errors import InvalidArtifact, PoseliftError
from poselift.lifters import Lifter
from poselift.skeletons import Skeleton, skeleton

WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.json"


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
    seconds apart. A keypoint with a score below `score_threshold` is missing. The network's output times `unit_m` is
    metres. `missing_joints` says what happens to a missing joint: "token", the network has a learnt token for it;
    "hold", it keeps its last seen position.
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
    def digest(self) -> str:
        """Short name of the exact weights, for answers and for keys."""
        return self.weights_sha256[:16]


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
    path: Path


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Load a published artifact after checking its weights against the digest in its manifest.

    Args:
        path: the folder `<repository>/<name>/<version>`.
    Raises:
        InvalidArtifact: a file is missing, altered, of an unknown format version, or does not fit the network.
    """
    folder = Path(path)
    manifest, weights = _read_verified(folder)
    lifter = lifters.build(manifest.system, manifest.network)
    module = cast(torch.nn.Module, lifter)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except Exception as error:  # safetensors and torch raise several unrelated kinds for a file that does not fit
        raise InvalidArtifact(f"The weights in {folder} do not fit the network of its manifest: {error}") from error
    module.eval().requires_grad_(False)
    return Artifact(manifest, lifter)


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json` alone.

    The folder must carry the manifest's name and version, wherever the repository lies: answers and stored sessions
    name an artifact by them.

    Raises:
        InvalidArtifact: it is missing, no JSON, of an unknown format version, describes no network that can be built,
            or lies in the folder of another artifact; the first field at fault is named.
    """
    file = folder / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidArtifact(f"There is no artifact in {folder}: {MANIFEST_FILE} cannot be read.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidArtifact(f"The manifest {file} is not valid: {field}: {first['msg']}.") from error
    try:
        lifters.configure(manifest.system, manifest.network)
    except InvalidArtifact as error:
        raise InvalidArtifact(f"The manifest {file} is not valid: {error.message}", path=error.path) from error
    place = folder.absolute()
    if (place.parent.name, place.name) != (manifest.name, str(manifest.version)):
        raise InvalidArtifact(
            f"The artifact in {folder} is {manifest.name}@{manifest.version} by its manifest, so it must lie in "
            f"{manifest.name}/{manifest.version}."
        )
    return manifest


def verify(folder: Path) -> Manifest:
    """Check an artifact's manifest and the digest of its weights without building the network.

    Raises:
        InvalidArtifact: as `load_artifact`.
    """
    return _read_verified(folder)[0]


def _read_verified(folder: Path) -> tuple[Manifest, bytes]:
    manifest = read_manifest(folder)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise InvalidArtifact(f"The artifact {folder} has no readable {WEIGHTS_FILE}.") from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise InvalidArtifact(f"The weights in {folder} are not those of its manifest: their SHA-256 differs.")
    return manifest, weights


def publish(repository: Path, draft: Manifest, lifter: Lifter) -> Path:
    """Write the next version of an artifact; readers see all of it or nothing.

    Args:
        draft: the manifest; its version and digest are set here, its network comes from the lifter's configuration.
    Returns:
        The folder of the new version, which is one above every number that is taken.
    Raises:
        OSError: the repository cannot be written to.
    """
    home = repository / draft.name
    home.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in cast(torch.nn.Module, lifter).state_dict().items()}
    weights = safetensors.torch.save(state)
    network = dataclasses.asdict(lifter.config)
    with tempfile.TemporaryDirectory(dir=home, prefix=".publishing-") as scratch:
        while True:
            # Above whatever is there, also what a broken copy or an unfinished clean-up has left.
            version = max((int(path.name) for path in home.iterdir() if path.name.isdecimal()), default=0) + 1
            manifest = draft.model_copy(
                update={
                    "version": version,
                    "network": network,
                    "weights_sha256": hashlib.sha256(weights).hexdigest(),
                }
            )
            folder = Path(scratch) / str(version)
            folder.mkdir()
            _write_durably(folder / WEIGHTS_FILE, weights)
            _write_durably(folder / MANIFEST_FILE, (manifest.model_dump_json(indent=2) + "\n").encode())
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


def set_label(repository: Path, name: str, label: str, version: int) -> None:
    """Point a label at a published version, atomically.

    Raises:
        InvalidArtifact: there is no such version.
    """
    home = repository / name
    if version not in _versions(home):
        raise InvalidArtifact(f"{name} has no version {version} in {repository}.")
    labels = {**_labels(home), label: version}
    scratch = home / f".{LABELS_FILE}.{os.getpid()}"
    _write_durably(scratch, (json.dumps(labels, indent=2, sort_keys=True) + "\n").encode())
    scratch.replace(home / LABELS_FILE)
    _sync_folder(home)


def list_artifacts(repository: Path) -> list[Published]:
    """All published artifacts of a repository, by name and version."""
    if not repository.is_dir():
        return []
    found = []
    for home in sorted(path for path in repository.iterdir() if path.is_dir()):
        labels = _labels(home)
        for version in sorted(_versions(home)):
            names = tuple(sorted(label for label, labelled in labels.items() if labelled == version))
            found.append(Published(home.name, version, names, home / str(version)))
    return found


def find_artifact(repository: Path, reference: str) -> Path:
    """Find `name`, `name@version` or `name@label` in a repository; a bare name means its newest version.

    Raises:
        InvalidArtifact: there is no such artifact; the message says what there is.
    """
    name, _, wanted = reference.partition("@")
    of_name = [published for published in list_artifacts(repository) if published.name == name]
    if not of_name:
        names = sorted({published.name for published in list_artifacts(repository)})
        raise InvalidArtifact(f"There is no model {name!r} in {repository}; there are: {', '.join(names) or 'none'}.")
    for published in reversed(of_name):
        if not wanted or wanted == str(published.version) or wanted in published.labels:
            return published.path
    known = [str(published.version) for published in of_name] + [label for p in of_name for label in p.labels]
    raise InvalidArtifact(f"The model {name!r} has no version or label {wanted!r}; it has: {', '.join(known)}.")


def _versions(home: Path) -> set[int]:
    if not home.is_dir():
        return set()
    return {int(path.name) for path in home.iterdir() if path.name.isdecimal() and (path / MANIFEST_FILE).is_file()}


def _labels(home: Path) -> dict[str, int]:
    file = home / LABELS_FILE
    try:
        return {str(label): int(version) for label, version in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidArtifact(f"The labels in {file} are not an object of version numbers.") from error


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
