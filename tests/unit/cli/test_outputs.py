"""Where `poselift lift` writes, with several inputs, standard input and output, and all forms."""

import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from poselift.formats.writers.pose_file import FORMS
from tests.unit.cli.running import ROUNDED_M, SAMPLE, run


@pytest.fixture
def inputs(tmp_path):
    """Two files that can be lifted, and one between them that cannot."""
    document = json.loads(SAMPLE.read_text())
    document["keypoints"] = document["keypoints"][:12]
    for name in ("a.json", "c.json"):
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "b.json").write_text("{")
    return tmp_path


def test_every_form_is_written_by_its_ending(models, inputs):
    expected = np.array(json.loads(run("lift", inputs / "a.json", "--models", models).stdout)["poses"])
    for form in (form for form in FORMS if not form.needs_world):
        path = inputs / f"poses{form.ending}"
        assert run("lift", inputs / "a.json", "--models", models, "-o", path).stdout == ""
        assert path.stat().st_size > 500
    table = pd.read_csv(inputs / "poses.csv")
    np.testing.assert_allclose(table[["x_m", "y_m", "z_m"]].to_numpy().reshape(-1, 17, 3), expected, atol=ROUNDED_M)


def test_one_of_several_inputs_that_fails_does_not_end_the_others(models, inputs):
    names = [inputs / f"{name}.json" for name in "abc"]
    out = inputs / "out"
    result = run("lift", *names, "--models", models, "-o", f"{out}/", "--format", "csv", code=2)
    broken, last = result.stderr.splitlines()
    assert broken.startswith(f"poselift: {names[1]}: it is not JSON")
    assert last == f"poselift: 1 of 3 inputs failed: {names[1]}."
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "c.csv"]
    assert len(pd.read_csv(out / "c.csv")) == 12 * 17


def test_an_input_that_is_a_folder_gives_its_name(models, inputs):
    frames = json.loads((inputs / "a.json").read_text())["keypoints"]
    (inputs / "openpose").mkdir()
    for number, joints in enumerate(frames):
        body25 = np.zeros((25, 3))
        body25[:17] = joints
        person = {"person_id": [-1], "pose_keypoints_2d": body25.ravel().tolist()}
        (inputs / "openpose" / f"v_{number:012}_keypoints.json").write_text(json.dumps({"people": [person]}))
    (inputs / "out").mkdir()
    options = ["--fps", 30, "--image-size", "640x480", "--models", models, "-o", inputs / "out"]
    run("lift", inputs / "openpose", *options)
    assert [path.name for path in (inputs / "out").iterdir()] == ["openpose.json"]


def test_standard_input_and_output(models, inputs):
    command = [sys.executable, "-m", "poselift", "lift", "-", "--models", str(models)]
    (inputs / "out").mkdir()
    for output in ([], ["-o", "-"], ["-o", str(inputs / "out")]):
        ended = subprocess.run(
            [*command, *output], input=(inputs / "a.json").read_bytes(), capture_output=True, check=True
        )
        written = ended.stdout or (inputs / "out" / "stdin.json").read_bytes()
        assert len(json.loads(written)["poses"]) == 12


def test_ctrl_c_ends_in_one_line_and_leaves_nothing(models, inputs):
    before = sorted(inputs.rglob("*"))
    command = [sys.executable, "-m", "poselift", "lift", "-", "--models", str(models), "-o", str(inputs / "poses.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b" " * 1_000_000)  # more than a pipe holds: it is being read, and goes on to be
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate()
    assert (running.returncode, complaint) == (130, b"poselift: stopped.\n")
    assert sorted(inputs.rglob("*")) == before


def test_standard_input_is_named_in_complaints(models, inputs):
    command = [sys.executable, "-m", "poselift", "lift", "-", "--models", str(models)]
    ended = subprocess.run(command, input=b"{", capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"poselift: standard input: it is not JSON from line 1")


def test_a_form_that_holds_one_person_on_standard_output(models, inputs):
    document = json.loads((inputs / "a.json").read_text())
    frames = document.pop("keypoints")
    assert run("lift", inputs / "a.json", "--models", models, "--format", "trc").stdout.startswith("PathFileType")
    document["tracks"] = [{"track_id": name, "keypoints": frames} for name in "78"]
    (inputs / "two.json").write_text(json.dumps(document))
    refused = run("lift", inputs / "two.json", "--models", models, "--format", "trc", code=2)
    assert "name an output file (-o)" in refused.stderr
    said = run("lift", inputs / "two.json", "--models", models, "-o", inputs / "walk.trc").stderr
    assert said == f"poselift: wrote {inputs / 'walk_7.trc'}, {inputs / 'walk_8.trc'}.\n"
    assert sorted(path.name for path in inputs.glob("*.trc")) == ["walk_7.trc", "walk_8.trc"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a.json", "c.json"], "written into a folder; name one: -o FOLDER"),
        (["a.json", "c.json", "-o", "poses.json"], "-o poses.json/"),
        (["a.json", "-o", "a.json"], "is an input and would be replaced"),
        (["a.json", "-o", "./"], "is an input and would be replaced"),
        (["a.json", "x/a.json", "-o", "out/"], "would both be out/a.json"),
        (["a.json", "-o", "nowhere/poses.json"], "nowhere: there is no such folder"),
        (["a.json", "-o", "out/", "--format", "bvhh"], "bvhh: poses are written as .json, .npz"),
        (["a.json", "-o", "poses"], "poses: poses are written as .json, .npz"),
    ],
)
def test_outputs_are_checked_before_any_work(models, inputs, monkeypatch, arguments, complaint):
    monkeypatch.chdir(inputs)
    before = {path: path.read_bytes() for path in inputs.rglob("*")}
    assert complaint in run("lift", *arguments, "--models", models, code=2).stderr
    assert {path: path.read_bytes() for path in inputs.rglob("*")} == before


def test_a_form_whose_package_is_missing_says_what_to_install(inputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    monkeypatch.delitem(sys.modules, "poselift.formats.writers.c3d", raising=False)
    refused = run("lift", inputs / "a.json", "-o", inputs / "poses.c3d", code=2)
    assert "pip install 'poselift[formats]'" in refused.stderr
