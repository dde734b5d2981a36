import os
import signal
from pathlib import Path

import pytest
import torch
from poselift_training.loop.checkpoint import ema_weights, read_checkpoint
from poselift_training.loop.stop import TrainingStopped

from tests.unit.training.loop.small_run import interrupted_at, job, losses, recipe_in, run, same_state


def test_a_run_ends_with_the_average_of_its_weights(tmp_path: Path) -> None:
    plain, averaged = job(), job()
    run(recipe_in(tmp_path / "plain"), plain)
    run(recipe_in(tmp_path / "averaged", "optimiser.average=0.9"), averaged)
    assert losses(recipe_in(tmp_path / "plain")) == losses(recipe_in(tmp_path / "averaged"))  # it teaches nothing
    assert not same_state(plain, averaged)
    kept = read_checkpoint(tmp_path / "averaged" / "smoke")
    assert all(torch.equal(tensor, plain.objective.state_dict()[name]) for name, tensor in kept["objective"].items())
    assert all(torch.equal(tensor, averaged.objective.state_dict()[name]) for name, tensor in ema_weights(kept).items())


def test_the_average_forgets_the_initial_weights(tmp_path: Path) -> None:
    averaged, untrained = job(), job()
    recipe = recipe_in(tmp_path, "optimiser.average=0.9999")  # forty steps would leave nearly all of it
    run(recipe, averaged)
    last, first = read_checkpoint(recipe.folder)["objective"], untrained.objective.state_dict()
    name = "layers.0.weight"
    average = averaged.objective.state_dict()[name]
    assert (average - last[name]).norm() < 0.5 * (first[name] - last[name]).norm()


def test_the_average_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole, broken = (recipe_in(tmp_path / name, "optimiser.average=0.9") for name in ("whole", "broken"))
    unbroken, resumed = job(), job()
    run(whole, unbroken)
    with pytest.raises(TrainingStopped):
        run(broken, job(inputs=interrupted_at(17, lambda: os.kill(os.getpid(), signal.SIGTERM))))
    run(broken, resumed)
    assert same_state(resumed, unbroken)
    run(broken, again := job())  # nothing is left to do, and the result is the same
    assert same_state(again, unbroken)
