"""MPM's lifter: sizes and costs."""

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.official.mpm import export_mpm
from poselift.lifters.systems import build, cost
from tests.unit.lifters.mpm.small import small


def test_impossible_sizes_are_refused() -> None:
    for field, value in (("frame_dropout", 1.0), ("frame_dropout", "much"), ("frames", 28), ("dropout", 2)):
        with pytest.raises(InvalidArtifact) as refused:
            build("mpm", {"frames": 27, field: value})
        assert refused.value.path == f"network.{field}"
    with pytest.raises(InvalidArtifact, match="same joints"):
        PoseSpace(small(joints_out=16), 1)


def test_the_per_frame_network_has_its_own_dropout() -> None:
    lifter = MPM(small(dropout=0.05))
    assert lifter.embedding.encoder.dropout.p == 0.2
    assert {part.p for part in lifter.temporal.modules() if isinstance(part, torch.nn.Dropout)} == {0.05}
    assert {part.p for part in PoseSpace(small(), 1).modules() if isinstance(part, torch.nn.Dropout)} == {0.1}


@pytest.mark.parametrize(
    ("frames", "layers", "joints", "every", "counted", "counted_flops", "full_flops"),
    [
        (27, 3, 17, 4.683, 4.648, 163.3, 166.0),
        (243, 3, 16, 6.480, 6.222, 1481.0, 1726.9),
        (243, 4, 17, 7.009, 6.750, 1736.7, 2043.1),
    ],
)
def test_costs_of_the_official_networks(
    frames: int, layers: int, joints: int, every: float, counted: float, counted_flops: float, full_flops: float
) -> None:
    config = MPMConfig(frames, layers=layers, joints_in=joints, joints_out=joints)
    parameters, flops = cost("mpm", config)
    assert parameters.counted / 1e6 == pytest.approx(counted, abs=5e-4)
    assert flops.counted / 1e6 == pytest.approx(counted_flops, abs=0.05)
    assert flops.full / 1e6 == pytest.approx(full_flops, abs=0.05)
    with torch.device("meta"):
        official = export_mpm(MPM(config))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    total = sum(value.numel() for name, value in official.items() if not name.endswith(buffers))
    assert total / 1e6 == pytest.approx(every, abs=5e-4)
