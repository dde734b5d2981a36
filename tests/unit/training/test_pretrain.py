"""The objective of stage I, for every system."""

import pytest
import torch
from poselift_training.pretrain import Reconstruction

from poselift.lifters.systems import SYSTEMS
from tests.unit.training.objectives import batch, check_gradients, recipe


@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.masked is not None])
def test_every_trainable_weight_of_a_masked_network_gets_a_gradient(system: str) -> None:
    torch.manual_seed(1)
    objective = Reconstruction(recipe("pretrain", system))
    check_gradients(objective, objective(*objective.inputs(recipe("pretrain", system), batch(), 3, 0)))
