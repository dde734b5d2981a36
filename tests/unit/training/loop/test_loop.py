import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from poselift_training.data import Batch
from poselift_training.lifting_objective import Lifting
from poselift_training.loop.checkpoint import read_checkpoint
from poselift_training.loop.loop import Job, Training
from poselift_training.loop.schedule import learning_rate
from poselift_training.loop.seeds import step_seed
from poselift_training.pretrain import Reconstruction
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from poselift.errors import InvalidRecipe
from tests.host_waits import META, waits
from tests.unit.training import objectives
from tests.unit.training.loop.small_run import inputs, job, losses, recipe_in, run, same_state

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


def test_a_finished_run_is_loaded_and_not_trained_further(tmp_path: Path) -> None:
    recipe, finished, again = recipe_in(tmp_path), job(), job()
    run(recipe, finished)
    run(recipe, again)
    assert same_state(finished, again)
    assert len(losses(recipe)) == 40


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path, value: float) -> None:
    recipe = recipe_in(tmp_path, "checkpoint_every_s=0.0")

    def poisoned(step: int) -> tuple[Tensor, ...]:
        x, y = inputs(step)
        return x, y * value if step == 22 else y

    with pytest.raises(InvalidRecipe, match=r"step 23 at learning rate 0\.\d+: lower .*is kept") as refusal:
        run(recipe, job(inputs=poisoned))
    assert refusal.value.path == "optimiser.learning_rate"
    checkpoint = read_checkpoint(recipe.folder)
    assert checkpoint["step"] == 20
    assert all(bool(tensor.isfinite().all()) for tensor in checkpoint["objective"].values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, "checkpoint_every_s=0.0")
    work = job()

    def broken_weight(step: int) -> tuple[Tensor, ...]:
        if step == 40 - 1:  # the loss of this step still comes from sound weights
            hook = next(work.objective.parameters()).register_hook(lambda gradient: gradient * math.nan)
            assert hook is not None
        return inputs(step)

    work = job(objective=work.objective, inputs=broken_weight)
    with pytest.raises(InvalidRecipe, match="weight is no longer finite after step 40"):
        run(recipe, work)
    assert read_checkpoint(recipe.folder)["step"] == 35


def test_all_optimisers_follow_the_schedule_with_gradients_of_limited_length(tmp_path: Path) -> None:
    recipe = objectives.recipe(
        "finetune", "pstmo-sequence", f"runs={tmp_path}", "optimiser.kind=muon", "optimiser.clip_norm=0.001"
    )
    assert recipe.optimiser.clip_norm == 0.001
    objective, rates, lengths = Lifting(recipe), [], []

    def before_step(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        rates.append({group["lr"] for group in optimiser.param_groups})
        lengths.append(math.hypot(*(float(p.grad.norm()) for p in objective.parameters() if p.grad is not None)))

    def inputs_of(step: int) -> tuple[Tensor, ...]:
        return objective.inputs(objectives.batch(), step), objectives.batch().joints

    hook = register_optimizer_step_pre_hook(before_step)
    try:
        run(recipe, Job(objective, inputs_of, lambda: {"error": 0.0}, steps=3, steps_per_epoch=1))
    finally:
        hook.remove()
    expected = [{learning_rate(recipe.optimiser, step, 3, 1)} for step in range(3) for _ in range(2)]
    assert rates == expected  # AdamW's and Muon's
    assert len({frozenset(rate) for rate in rates}) == 3
    assert max(lengths[::2]) == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize(("stage", "system", "overrides"), STEPS)
def test_a_step_waits_for_nothing(stage: str, system: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    more = (f"runs={tmp_path}", "optimiser.average=0.9", "optimiser.clip_norm=1.0")
    recipe = objectives.recipe(stage, system, *overrides, *more)
    batch = Batch(*(part.to(META) for part in vars(objectives.batch()).values()))
    objective = (Reconstruction if stage == "pretrain" else Lifting)(recipe).to(META)

    def inputs_of(step: int) -> tuple[Tensor, ...]:
        if isinstance(objective, Reconstruction):
            return objective.inputs(recipe, batch, step, 0)
        return objective.inputs(batch, step_seed(recipe.seed, step, 0)), batch.joints

    training = Training(cast(Any, Device()), recipe, Job(objective, inputs_of, dict, steps=100, steps_per_epoch=10))
    training.network.train()
    assert waits(training._advance) == []
    assert training._unread_losses[-1].is_meta


class Device:
    """As `Fabric`, on one device."""

    global_rank = 0
    device = META

    def setup(self, objective: Any, *optimisers: Any) -> tuple[Any, ...]:
        for group in optimisers[0].param_groups:
            group["fused"] = False  # which this device has not
        return objective, *optimisers

    def backward(self, loss: Tensor) -> None:
        loss.backward()
