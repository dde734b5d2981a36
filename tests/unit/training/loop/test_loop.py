import math
from pathlib import Path

import pytest
from poselift_training.loop.checkpoint import read_checkpoint
from torch import Tensor

from poselift.errors import InvalidRecipe
from tests.unit.training.loop.small_run import inputs, job, losses, recipe_in, run, same_state


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
