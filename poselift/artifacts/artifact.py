"""An artifact in memory: a manifest and the network it describes."""

from dataclasses import dataclass
from typing import cast

import torch

from poselift.artifacts.files import Location
from poselift.artifacts.local_copy import local_folder
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.verify import read_verified
from poselift.artifacts.weights import read_tensors
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
        InvalidArtifact: a file is missing, altered, of an unknown format version, or does not fit the network, which
            is known before the network is built; or a weight is not finite.
        UnreachableRepository: the object store cannot be reached.
    """
    folder = local_folder(location)
    manifest, weights = read_verified(folder)
    tensors = read_tensors(weights, folder)
    lifter = build(manifest.system, manifest.network)
    module = cast(torch.nn.Module, lifter)
    module.load_state_dict(tensors, strict=True)
    module.eval().requires_grad_(False)
    return Artifact(manifest, lifter)
