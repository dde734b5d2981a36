"""Artifacts with the golden weights, and the tolerances of what they predict."""

from dataclasses import replace
from typing import Any

import torch

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters.official.mixste import import_mixste
from poselift.lifters.official.pstmo import import_pstmo
from tests.golden_files import GOLDEN, golden

# The poses of these random weights are metres off, so float32 alone costs some micrometres.
SCORE_MM = 0.01
POSE_M = 5e-5
TINY_H36M, TINY_3DHP = GOLDEN / "tiny_h36m", GOLDEN / "tiny_3dhp"


def weights(name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix("weights/"): value for key, value in golden(name).items() if key.startswith("weights/")}


def artifact(**changes: Any) -> Artifact:
    """The golden weights, as an import of them would publish them."""
    fields = {
        "name": "golden",
        "system": "pstmo",
        "network": {},
        "input_skeleton": "h36m17",
        "output_skeleton": "h36m17",
        "frame_rate_hz": 50,
        "temporal_stride": 2,
        "missing_joints": "hold",
        **changes,
    }
    return Artifact(Manifest.model_validate(fields), import_pstmo(weights("pstmo_c64_h128_n27_l3"))[0])


def artifact_3dhp() -> Artifact:
    return artifact(input_skeleton="mpi17", output_skeleton="mpi17", unit_m=0.001, temporal_stride=1)


def sequence_artifact(**changes: Any) -> Artifact:
    lifter = import_mixste(weights("mixste_c64_n27_d3"))
    fields = {"system": "mixste", "network": {"frames": 27}, "temporal_stride": 1, **changes}
    return replace(artifact(**fields), lifter=lifter)
