"""A model repository for the tests of the command."""

import pytest
import torch

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.lifters.pstmo.network import STMO
from tests.unit.cli.running import CONFIG


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A repository with an untrained model: its poses are meaningless but well-formed."""
    repository = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    draft = Manifest(
        name="untrained-9",
        system="pstmo",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=2,
        missing_joints="token",
        scores=({"protocol": "none", "mpjpe_mm": 1.5},),
    )
    publish(repository, draft, STMO(CONFIG).eval())
    return repository
