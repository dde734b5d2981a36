"""Artifacts with random weights, for tests that need a network and not its accuracy."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters import systems


def random_artifact(system: str, network: Mapping[str, object], **fields: object) -> Artifact:
    """An artifact that is the same each time, ready for inference.

    Args:
        network: sizes of the network, as in a manifest.
        fields: of the manifest, in place of a lifter's at 50 Hz for h36m17.
    """
    usual = {
        "name": "random",
        "version": 1,
        "input_skeleton": "h36m17",
        "output_skeleton": "h36m17",
        "frame_rate_hz": 50,
        "temporal_stride": 1,
        "missing_joints": "token" if network.get("mask_token") else "hold",
    }
    manifest = Manifest.model_validate({**usual, **fields, "system": system, "network": dict(network)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = systems.build(system, manifest.network)
    cast(nn.Module, lifter).eval().requires_grad_(requires_grad=False)
    return Artifact(manifest, lifter)
