"""Check published artifacts: manifests, and weights against their digests."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from poselift.artifacts.files import Location, read_file
from poselift.artifacts.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from poselift.artifacts.weights import check_sizes, read_tensors
from poselift.errors import InvalidArtifact
from poselift.lifters.systems import configure
from poselift.validation import first_finding


def read_manifest(location: Location) -> Manifest:
    """Read and check `manifest.json` alone.

    The folder must carry the manifest's name and version, wherever the repository lies: answers and stored sessions
    name an artifact by them.

    Raises:
        InvalidArtifact: it is missing, not JSON, of an unknown format version, describes a network that cannot be
            built, or lies in the folder of another artifact; the message names the first field at fault.
        UnreachableRepository: the object store cannot be reached.
    """
    try:
        content = read_file(location, MANIFEST_FILE)
    except OSError as error:
        raise InvalidArtifact(
            f"There is no artifact in {location}: {MANIFEST_FILE} cannot be read; "
            "`poselift models list` shows what a repository has."
        ) from error
    return _parse_manifest(content, location)


def _parse_manifest(content: bytes, location: Location) -> Manifest:
    file = f"{str(location).rstrip('/')}/{MANIFEST_FILE}"
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = first_finding(error)
        raise InvalidArtifact(
            f"The manifest {file} is not valid: {fault.path or 'the file'}: {fault.message}; publish the model again."
        ) from error
    try:
        configure(manifest.system, manifest.network)
    except InvalidArtifact as error:
        raise InvalidArtifact(f"The manifest {file} is not valid: {error.message}", path=error.path) from error
    folder = Path(location).absolute()  # an address, too, ends in the name and the version
    if (folder.parent.name, folder.name) != (manifest.name, str(manifest.version)):
        raise InvalidArtifact(
            f"The artifact in {location} is {manifest.name}@{manifest.version} by its manifest, so it must lie in "
            f"{manifest.name}/{manifest.version}."
        )
    return manifest


def verify(location: Location) -> Manifest:
    """Check an artifact's manifest, and the digest, sizes and numbers of its weights, without building the network.

    Raises:
        InvalidArtifact, UnreachableRepository: as `load_artifact`.
    """
    manifest, weights = read_verified(location)
    read_tensors(weights, location)
    return manifest


def read_verified(location: Location) -> tuple[Manifest, bytes]:
    """Read an artifact's manifest and the content of its weights file, checked against each other.

    Raises:
        InvalidArtifact: a file is missing, the digest differs, or a size does; or as `read_manifest`.
        UnreachableRepository: the object store cannot be reached.
    """
    manifest = read_manifest(location)
    try:
        weights = read_file(location, WEIGHTS_FILE)
    except OSError as error:
        raise InvalidArtifact(
            f"The artifact {location} has no readable {WEIGHTS_FILE}: copy or publish it again."
        ) from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise InvalidArtifact(
            f"The weights in {location} are not those of its manifest, their SHA-256 differs: copy or publish it again."
        )
    check_sizes(weights, manifest, location)
    return manifest, weights


def is_intact(folder: Path) -> bool:
    """Whether a folder holds an artifact with the weights of its manifest."""
    try:
        read_verified(folder)
    except InvalidArtifact:
        return False
    return True
