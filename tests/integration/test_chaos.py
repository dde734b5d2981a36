"""Replicas and their Redis are killed and suspended at random. `make chaos` does it for an hour."""

from pathlib import Path

from tests.integration.chaos.person import SAME_POSES_M, TRANSPORTS
from tests.integration.chaos.run import run

SECONDS = 20.0


def test_in_chaos_nothing_is_lost_doubled_or_wrong(models: Path, tmp_path: Path):
    told: list[str] = []
    tally = run("single", seconds=SECONDS, seed=1, models=models, folder=tmp_path, tell=told.append)
    assert tally.violations == []
    assert (tally.lost, tally.doubled, tally.wrong, tally.unknown) == (0, 0, 0, 0)
    assert set(tally.streams) == set(TRANSPORTS)
    assert tally.faults
    assert tally.lifts
    assert tally.largest_difference_m < SAME_POSES_M, tally
