"""A training step of any system launches its work without waiting for the device."""

from typing import Any, cast

import pytest
import torch
from poselift_training.data import Batch
from poselift_training.lifting_objective import Lifting
from poselift_training.loop.loop import Job, Training
from poselift_training.loop.seeds import step_seed
from poselift_training.pretrain import Reconstruction
from torch import Tensor

from tests.host_waits import META, waits
from tests.unit.training import objectives

_FINETUNE = "bone_length_weight=0.1", "velocity_weight=0.1"
STEPS = [
    ("pretrain", "pstmo", ()),
    ("pretrain", "mpm", ()),
    ("pretrain", "pstmo-sequence", ()),
    ("finetune", "pstmo", ("network.expected_error=true", "bone_length_weight=0.1")),
    ("finetune", "mixste", _FINETUNE),
    ("finetune", "mpm", ("bone_length_weight=0.1",)),
    ("finetune", "mpm-completion", ("network.person_centred=false", *_FINETUNE)),
    ("finetune", "pstmo-sequence", ("network.expected_error=true", "network.hidden_future=0.5", *_FINETUNE)),
]


@pytest.mark.parametrize(("stage", "system", "overrides"), STEPS)
def test_a_step_waits_for_nothing(stage: str, system: str, overrides: tuple[str, ...], tmp_path: Any):
    more = (f"runs={tmp_path}", "optimiser.average=0.9", "optimiser.clip_norm=1.0")
    recipe = objectives.recipe(stage, system, *overrides, *more)
    batch = Batch(*(part.to(META) for part in vars(objectives.batch()).values()))
    objective = (Reconstruction if stage == "pretrain" else Lifting)(recipe).to(META)

    def inputs(step: int) -> tuple[Tensor, ...]:
        if isinstance(objective, Reconstruction):
            return objective.inputs(recipe, batch, step, 0)
        return objective.inputs(batch, step_seed(recipe.seed, step, 0)), batch.joints

    training = Training(cast(Any, Device()), recipe, Job(objective, inputs, dict, steps=100, steps_per_epoch=10))
    training.network.train()
    assert waits(training._advance) == []
    assert training._unread_losses[-1].is_meta


class Device:
    """As `Fabric`, on one device."""

    global_rank = 0
    device = META

    def setup(self, objective: Any, optimiser: Any) -> tuple[Any, Any]:
        for group in optimiser.param_groups:
            group["fused"] = False  # which this device has not
        return objective, optimiser

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_gradients(self, network: Any, _: Any, *, max_norm: float, error_if_nonfinite: bool) -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm, error_if_nonfinite=error_if_nonfinite)
