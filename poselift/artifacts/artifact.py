"""An artifact in memory: a manifest and the network it describes."""

from dataclasses import dataclass
from typing import cast

import safetensors.torch
import torch

from poselift.artifacts.files import Location
from poselift.artifacts.local_copy import local_folder
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.verify import read_verified
from poselift.errors import InvalidArtifact
from poselift.lifters.lifter import Lifter
from poselift.lifters.systems import build


@dataclass(frozen=True)
class Artifact:
    """A manifest and the network it describes, on the CPU, in evaluation mode."""

    manifest: Manifest
    lifter: Lifter


def load_artifact(location: Location) -> Artifact:
    """Load a published artifact after checking its weights against the digest in its manifest.

    Args:
        location: the folder `<repository>/<name>/<version>`, or its address.
    Raises:
        InvalidArtifact: a file is missing, altered, of an unknown format version, or does not fit the network.
        UnreachableRepository: the object store cannot be reached.
    """
    folder = local_folder(location)
    manifest, weights = read_verified(folder)
    lifter = build(manifest.system, manifest.network)
    module = cast(torch.nn.Module, lifter)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except Exception as error:  # safetensors and torch raise several unrelated kinds for a file that does not fit
        raise InvalidArtifact(f"The weights in {folder} do not fit the network of its manifest: {error}") from error
    module.eval().requires_grad_(False)
    return Artifact(manifest, lifter)
