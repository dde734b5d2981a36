"""A thousand schedules, and proof that a schedule is repeated by its seed and that a bug would be found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY
from tests.simulation.__main__ import planted
from tests.simulation.mutations import MUTATIONS
from tests.simulation.schedule import run_schedule

SCHEDULES = 1000
# The rarest of the planted bugs breaks one schedule in fifty.
MOST_UNTIL_FOUND = 500
REPEATED = range(40)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with planted(None):
        yield


def test_a_thousand_schedules_keep_every_promise() -> None:
    outcomes = map(run_schedule, range(SCHEDULES))
    broken = {outcome.seed: outcome.broken for outcome in outcomes if outcome.broken is not None}
    assert not broken, f"python -m tests.simulation --seed {min(broken)} runs the first one again"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_planted_bug_is_found_with_its_seed(mutation: str) -> None:
    with planted(mutation):
        found = next((outcome for outcome in map(run_schedule, range(MOST_UNTIL_FOUND)) if outcome.broken), None)
        assert found is not None, f"none of {MOST_UNTIL_FOUND} schedules finds {mutation}"
        again = run_schedule(found.seed)
    sys.stdout.write(f"{mutation} is found by seed {found.seed}: {found.broken}\n")
    assert (again.broken, again.trail.checksum) == (found.broken, found.trail.checksum)
    assert run_schedule(found.seed).broken is None


def test_a_schedule_is_the_same_in_every_process() -> None:
    """Whatever the order of sets, of which strings and objects differ from process to process."""
    script = (
        "import json, logging; logging.disable(50); from tests.simulation.schedule import run_schedule\n"
        f"print(json.dumps([run_schedule(seed).trail.checksum for seed in {REPEATED!r}]))"
    )
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "service"), str(REPOSITORY / "training")])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": paths}
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout) == [run_schedule(seed).trail.checksum for seed in REPEATED]
