"""The bench of attacks: it runs a few of them, and tells a server that holds from one that does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.attack import Result
from tests.attacks.plan import attacks
from tests.attacks.report import missed_goals
from tests.integration.server_process import REPOSITORY

CHOSEN = ["counts: /lift tracks", "HTTP/2: resets"]
HELD = Result("any", stall_s=0.1, p99_s=0.2, frames=50, before_mb=300, peak_mb=900, after_mb=310)


def test_attacks_are_measured_beside_the_time_before_them(tmp_path: Path):
    command = [sys.executable, "-m", "tests.attacks", "--seconds", "1", "--rest", "0", "--servers", "1"]
    chosen = [word for name in CHOSEN for word in ("--only", name)]
    results = tmp_path / "results"
    ended = subprocess.run(
        [*command, *chosen, "--json", results], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode in (0, 1), ended.stderr  # how much others wait is not for a busy machine to say
    found = [Result(**json.loads(line)) for line in results.read_text().splitlines()]
    assert sorted(result.name for result in found) == sorted(CHOSEN)
    for result in found:
        assert not result.error, result
        assert min(result.stall_s, result.p99_s, result.frames) > 0
        assert 0 < result.before_mb <= result.peak_mb
        assert result.seen
        assert f"| {result.name} |" in ended.stdout
    assert found[[result.name for result in found].index(CHOSEN[0])].seen.keys() == {"422"}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"stall_s": 0.2}, ["stall"]),
        ({"stall_s": 0.2, "control_stall_s": 0.15}, []),
        ({"p99_s": 0.3}, ["p99"]),
        ({"failed": 1}, ["failed"]),
        ({"after_mb": 320}, ["memory"]),
        ({"error": "the server has ended"}, ["the server has ended"]),
    ],
)
def test_a_goal_is_missed_when_it_was_not_missed_before(changed: dict[str, float], missed: list[str]):
    assert missed_goals(Result(**{**vars(HELD), **changed})) == missed


def test_attacks_have_names_of_their_own():
    names = [attack.name for attack in attacks()]
    assert len(set(names)) == len(names) > 100
