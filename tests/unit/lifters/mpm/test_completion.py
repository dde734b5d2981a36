"""MPM's completion network as a system: the golden answers, its official checkpoints, its costs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.lifter import Task
from poselift.lifters.mpm.completion import MPMCompletion, MPMCompletionConfig
from poselift.lifters.mpm.network import MPM
from poselift.lifters.official.mpm import import_completion, import_served
from poselift.lifters.systems import SYSTEMS, build, cost
from tests.golden_files import golden
from tests.unit.lifters.golden_steps import official_weights

COMPLETE = "mpm_completion_c64_h128_n27_l3_j17"
FLOAT32 = 3e-5


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return official_weights(golden(COMPLETE))


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_official_answers(weights: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}{name}": value for name, value in weights.items()}, tmp_path / "a.pth")
    system, network = import_served(tmp_path / "a.pth")
    assert isinstance(network, MPMCompletion)
    assert system == "mpm-completion"
    assert network.config == MPMCompletionConfig(27, channels=64, hidden=128, layers=3)
    vectors = golden(COMPLETE)
    windows = vectors["inputs/x3d_BNJ3"]
    missing = windows.masked_fill(vectors["inputs/tube_mask_3d_BJ"].bool()[:, None, :, None], torch.nan)
    for form in (network, network.for_inference()):
        answer = form(missing).answer
        torch.testing.assert_close(answer, vectors["outputs/recon3d_BNJ3"], atol=FLOAT32, rtol=0)
        shared = form.aggregate(form.embed(missing[0])[torch.arange(27)[None]]).answer
        torch.testing.assert_close(shared, answer[:1], atol=FLOAT32, rtol=0)


def test_the_kind_of_network_is_recognised() -> None:
    system, network = import_served(official_weights(golden("mpm_lift_c64_h128_n27_l3_j17")))
    assert system == "mpm"
    assert isinstance(network, MPM)
    with pytest.raises(InvalidCheckpoint, match="decoders have 1 layers, not 2"):
        import_served(official_weights(golden("mpm_pretrain_c64_h128_n27_l3_j17")))


def test_tensors_that_do_not_fit_are_named(weights: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidCheckpoint, match="unknown extra"):
        import_completion(weights | {"extra": torch.zeros(1)})


def test_completion_is_a_registered_system() -> None:
    assert SYSTEMS["mpm-completion"].task is Task.COMPLETE
    with pytest.raises(InvalidArtifact, match="token"):
        build("mpm-completion", {"frames": 27, "mask_token": False})
    config = MPMCompletionConfig(27)
    assert config.sequence_to_sequence
    parameters, flops = cost("mpm-completion", config)
    assert 4e6 < parameters.counted < 4.5e6  # the official network has 4.434 M
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MPMCompletion(config).eval()(torch.zeros(1, 27, 17, 3))
    assert flops.full == counter.get_total_flops()
