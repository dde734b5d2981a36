"""`poselift view` and `poselift lift --view`: the page for one result, on this machine alone."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.running import SAMPLE, run

REPOSITORY = Path(__file__).parents[2]
START_S = 120


@contextmanager
def shown(*arguments: str | Path) -> Iterator[httpx.Client]:
    """A client of the page that a command shows; the command must end in order when it is interrupted."""
    command = [sys.executable, "-m", "poselift", *map(str, arguments), "--no-browser"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(found[1] for line in process.stderr if (found := re.search(r"(http://\S+)/#result", line)))
        with httpx.Client(base_url=address) as client:
            yield client
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 130
        assert process.stdout is not None
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        if process.stdout is not None:
            process.stdout.close()


def test_a_result_is_shown_beside_its_keypoints_and_saved_in_any_form():
    with shown("lift", SAMPLE, "--view") as client:
        assert "page/app.js" in client.get("/").text
        assert client.get("/page/app.js").status_code == 200
        result = client.get("/result.json").json()
        assert len(result["answer"]["poses"]) == len(result["request"]["keypoints"]) == 100
        assert result["answer"]["fps"] == 60
        assert {"json", "npz", "csv", "trc"} <= set(result["forms"])
        assert client.get("/save/csv").text.startswith("person,frame")
        assert client.get("/save/../pyproject.toml").status_code == 404
        assert client.get("/result.json", headers={"host": "evil.example"}).status_code == 404


@pytest.mark.parametrize("form", ["json", "npz"])
def test_a_file_of_poses_is_shown_with_what_it_says(form: str, tmp_path: Path):
    path = tmp_path / f"poses.{form}"
    run("lift", SAMPLE, "-o", path)
    expected = json.loads(run("lift", SAMPLE).stdout)
    with shown("view", path) as client:
        result = client.get("/result.json").json()
        (person,) = result["answer"]["tracks"]
        assert result["name"] == path.name
        assert result["request"] is None
        assert person["imputed"] == expected["imputed"]
        assert person["expected_error_m"][5] == pytest.approx(expected["expected_error_m"][5], abs=1e-5)
        assert person["poses"][5][3] == pytest.approx(expected["poses"][5][3], abs=1e-5)


def test_one_input_is_shown_at_a_time():
    result = run("lift", SAMPLE, SAMPLE, "--view", code=2)
    assert "one input" in result.output.lower()
