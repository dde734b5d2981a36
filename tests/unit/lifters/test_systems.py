"""Building a network from the fields of a manifest."""

import dataclasses

import pytest

from poselift.errors import InvalidArtifact
from poselift.lifters.systems import build
from tests.unit.lifters.pstmo.small import small


def test_build_refuses_unknown_systems_and_settings() -> None:
    with pytest.raises(InvalidArtifact, match="'mixture'"):
        build("mixture", {"frames": 27})
    with pytest.raises(InvalidArtifact, match="'depth'"):
        build("pstmo", {"frames": 27, "depth": 3})
    with pytest.raises(InvalidArtifact, match="'frames'"):
        build("pstmo", {})


def test_build_returns_the_network_of_the_manifest() -> None:
    config = small(mask_token=True)
    assert build("pstmo", dataclasses.asdict(config)).config == config
