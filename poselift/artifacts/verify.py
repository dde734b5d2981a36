"""Check published artifacts: manifests, and weights against their digests."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from poselift.artifacts.files import Location, read_file
from poselift.artifacts.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from poselift.errors import InvalidArtifact
from poselift.lifters.systems import configure


def read_manifest(place: Location) -> Manifest:
    """Read and check `manifest.json` alone.

    The folder must carry the manifest's name and version, wherever the repository lies: answers and stored sessions
    name an artifact by them.

    Raises:
        InvalidArtifact: it is missing, no JSON, of an unknown format version, describes no network that can be built,
            or lies in the folder of another artifact; the first field at fault is named.
        UnreachableRepository: its store cannot be reached.
    """
    try:
        content = read_file(place, MANIFEST_FILE)
    except OSError as error:
        raise InvalidArtifact(f"There is no artifact in {place}: {MANIFEST_FILE} cannot be read.") from error
    return _parse_manifest(content, place)


def _parse_manifest(content: bytes, place: Location) -> Manifest:
    file = f"{str(place).rstrip('/')}/{MANIFEST_FILE}"
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidArtifact(f"The manifest {file} is not valid: {field}: {first['msg']}.") from error
    try:
        configure(manifest.system, manifest.network)
    except InvalidArtifact as error:
        raise InvalidArtifact(f"The manifest {file} is not valid: {error.message}", path=error.path) from error
    folder = Path(place).absolute()  # of an address, too, the last two steps are what counts
    if (folder.parent.name, folder.name) != (manifest.name, str(manifest.version)):
        raise InvalidArtifact(
            f"The artifact in {place} is {manifest.name}@{manifest.version} by its manifest, so it must lie in "
            f"{manifest.name}/{manifest.version}."
        )
    return manifest


def verify(place: Location) -> Manifest:
    """Check an artifact's manifest and the digest of its weights, where it lies, without building the network.

    Raises:
        InvalidArtifact, UnreachableRepository: as `load_artifact`.
    """
    return read_verified(place)[0]


def read_verified(place: Location) -> tuple[Manifest, bytes]:
    manifest = read_manifest(place)
    try:
        weights = read_file(place, WEIGHTS_FILE)
    except OSError as error:
        raise InvalidArtifact(f"The artifact {place} has no readable {WEIGHTS_FILE}.") from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise InvalidArtifact(f"The weights in {place} are not those of its manifest: their SHA-256 differs.")
    return manifest, weights


def is_intact(folder: Path) -> bool:
    try:
        verify(folder)
    except InvalidArtifact:
        return False
    return True
