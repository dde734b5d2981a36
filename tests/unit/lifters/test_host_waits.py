"""A lift of any system launches its work without waiting for the device."""

from typing import cast

import pytest
import torch
from torch import nn

from poselift.lifters.lifter import Lifter
from poselift.lifters.systems import SYSTEMS, build
from tests.host_waits import META, waits

NETWORK = {"frames": 9, "channels": 16, "hidden": 32, "layers": 2, "heads": 2, "mask_token": True}
PERSON_CENTRED = {"person_centred": True}
EXPECTED_ERROR = {"expected_error": True}


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
