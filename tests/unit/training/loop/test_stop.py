import json
import os
import signal
import time
from pathlib import Path

import pytest
from poselift_training.loop.checkpoint import read_checkpoint
from poselift_training.loop.stop import TrainingStopped
from torch import Tensor

from tests.unit.training.loop.small_run import inputs, interrupted_at, job, losses, recipe_in, run, same_state


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_by_a_signal_resumes_bit_for_bit(tmp_path: Path, number: signal.Signals) -> None:
    whole, broken = recipe_in(tmp_path / "whole"), recipe_in(tmp_path / "broken")
    unbroken = job()
    run(whole, unbroken)
    handler = signal.getsignal(number)

    with pytest.raises(TrainingStopped, match=rf"step 18 of 40 \({number.name}\).*same command") as stopped:
        run(broken, job(inputs=interrupted_at(17, lambda: os.kill(os.getpid(), number))))
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is handler
    assert len(losses(broken)) == 18

    resumed = job()
    run(broken, resumed)
    assert losses(broken) == losses(whole)
    assert same_state(resumed, unbroken)
    validation = [(recipe.folder / "validation.jsonl").read_text() for recipe in (whole, broken)]
    assert validation[0] == validation[1]
    assert [json.loads(line)["step"] for line in validation[0].splitlines()] == [20, 40]


def test_the_time_limit_stops_cleanly(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)

    def slow_inputs(step: int) -> tuple[Tensor, ...]:
        time.sleep(0.01)
        return inputs(step)

    with pytest.raises(TrainingStopped, match=r"time limit.*same command") as stopped:
        run(recipe, job(steps=10_000, inputs=slow_inputs), time_limit_s=0.1)
    assert stopped.value.exit_code == 0
    assert read_checkpoint(recipe.folder)["step"] == len(losses(recipe)) < 100
