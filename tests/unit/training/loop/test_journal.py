from pathlib import Path

import pytest
from poselift_training.loop.stop import TrainingStopped

from tests.unit.training.loop.small_run import job, losses, recipe_in, run


def test_log_entries_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    with pytest.raises(TrainingStopped):
        run(recipe, job(), time_limit_s=0)
    assert len(losses(recipe)) == 1
    log = recipe.folder / "losses.jsonl"
    log.write_text(log.read_text() + '{"step": 2, "loss": 9.0}\n{"step": 3, "lo')  # a kill after the checkpoint
    run(recipe, job())
    assert len(losses(recipe)) == 40
    assert 9.0 not in losses(recipe)
