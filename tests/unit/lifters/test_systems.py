"""Building a network from the fields of a manifest, and that no system waits for the device in a lift."""

import dataclasses
from typing import cast

import pytest
import torch
from torch import nn

from poselift.errors import InvalidArtifact
from poselift.lifters.lifter import Lifter
from poselift.lifters.systems import SYSTEMS, build
from tests.host_waits import META, waits
from tests.unit.lifters.pstmo.small import small

NETWORK = {"frames": 9, "channels": 16, "hidden": 32, "layers": 2, "heads": 2, "mask_token": True}
PERSON_CENTRED = {"person_centred": True}
EXPECTED_ERROR = {"expected_error": True}


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


@pytest.mark.parametrize(
    ("system", "more"),
    [
        ("pstmo", PERSON_CENTRED | EXPECTED_ERROR),
        ("mixste", PERSON_CENTRED),
        ("mpm", PERSON_CENTRED),
        ("mpm-completion", {}),
        ("pstmo-sequence", PERSON_CENTRED | EXPECTED_ERROR),
    ],
)
def test_a_lift_waits_for_nothing(system: str, more: dict[str, bool]):
    lifter = cast(Lifter, cast(nn.Module, build(system, NETWORK | more).for_inference()).to(META))
    frames = torch.rand(12, 17, SYSTEMS[system].task.dimensions, device=META)
    index = torch.zeros(4, 9, dtype=torch.int64, device=META)

    def lift() -> torch.Tensor:
        return lifter.aggregate(lifter.embed(frames)[index]).answer

    with torch.inference_mode():
        assert waits(lift) == []
        assert lift().is_meta


def test_every_system_is_tried():
    marks = test_a_lift_waits_for_nothing.pytestmark
    assert {system for system, _ in marks[0].args[1]} == set(SYSTEMS)
