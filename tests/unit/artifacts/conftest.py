"""A small lifter, its manifest, and a repository in an object store in memory."""

from collections.abc import Iterator

import fsspec
import pytest
import torch

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.object_store import ObjectStore
from poselift.lifters.pstmo.network import STMO, STMOConfig

CONFIG = STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=True)


@pytest.fixture
def draft():
    return Manifest(
        name="small",
        system="pstmo",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=3,
        missing_joints="token",
        recipe={"seed": 1},
    )


@pytest.fixture
def lifter():
    torch.manual_seed(0)
    return STMO(CONFIG).eval()


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    yield "memory://bucket/models"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.fixture
def objects(repository) -> ObjectStore:
    return ObjectStore(repository)
