import pytest
import torch
from poselift_training.lifting_objective import Lifting
from poselift_training.loop.optimisers import inner_matrices, make_optimisers
from poselift_training.optimiser_config import OptimiserConfig

from tests.unit.training import objectives

SYSTEMS = ["pstmo", "mixste", "mpm", "pstmo-sequence"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_muon_and_adamw_share_the_parameters(system: str) -> None:
    recipe = objectives.recipe("finetune", system)
    objective = Lifting(recipe)
    adam, muon = make_optimisers(OptimiserConfig(1e-3, kind="muon"), objective, recipe.network.channels)
    shared = [parameter for part in (adam, muon) for group in part.param_groups for parameter in group["params"]]
    assert len(shared) == len(set(shared)) == len(list(objective.parameters()))
    assert type(adam) is torch.optim.AdamW


def test_muon_learns_neither_what_reads_coordinates_nor_what_writes_poses() -> None:
    recipe = objectives.recipe(
        "finetune", "pstmo-sequence", "network.expected_error=true", "network.channels=128", "network.hidden=128"
    )
    objective = Lifting(recipe)
    names = {parameter: name for name, parameter in objective.named_parameters()}
    matrices = {names[matrix] for matrix in inner_matrices(objective, recipe.network.channels)}
    assert "lifter.temporal.layers.0.attention.query_key_value.weight" in matrices
    assert "lifter.temporal.layers.0.narrow.weight" in matrices
    assert "lifter.embedding.encoder.inner_1.weight" in matrices
    first_and_last = {
        f"lifter.{name}.weight" for name in ("embedding.encoder.widen", "frames_head.out", "error_head.out")
    }
    assert first_and_last <= set(names.values())
    assert not matrices & first_and_last


def test_a_step_of_muon_is_orthogonal() -> None:
    """As large as one of AdamW: 0.2 times the learning rate and the root of the longer side in every direction."""
    product = torch.nn.Linear(8, 8, bias=False)
    before = product.weight.detach().clone()
    config = OptimiserConfig(1e-2, kind="muon")
    _, muon = make_optimisers(config, torch.nn.Sequential(product, torch.nn.Linear(8, 1)), 8)
    product(torch.randn(32, 8)).square().sum().backward()
    muon.step()
    step = torch.linalg.svdvals(before - product.weight.detach()) / (1e-2 * 0.2 * 8**0.5)
    assert step.min() > 0.6
    assert step.max() < 1.3
