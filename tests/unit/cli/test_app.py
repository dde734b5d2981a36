"""The `poselift` command as a whole: its help, and how it ends."""

import subprocess
import sys
import time
from importlib.metadata import version

import pytest

import poselift
from tests.unit.cli.running import BVH, SAMPLE, run

# Still immediate for a person; 0.1 s were measured on an idle machine, and test machines are not idle.
IMMEDIATE_CPU_S = 0.3


def test_help_is_immediate_and_names_every_command():
    started = time.process_time()
    text = run("--help").output
    assert time.process_time() - started < IMMEDIATE_CPU_S
    for command in "serve lift complete pretrain finetune evaluate import models data keys".split():
        assert f"  {command} " in text


def test_help_does_not_import_slow_packages():
    code = "import sys, poselift.__main__; print(*({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lift", "nothing.json"], "nothing.json: it cannot be read: No such file"),
        (["complete", "nothing.json"], "nothing.json: it cannot be read: No such file"),
        (["complete", SAMPLE], "its form is not known"),
        (["complete", SAMPLE, "-o", "poses.csv"], ".json or .npz"),
        (["lift", SAMPLE, "--models", "nowhere"], "there are: none"),
        (["lift", SAMPLE, "--model", "x@3", "--models", "nowhere"], "There is no model 'x'"),
        (["lift", SAMPLE, "-o", "poses.csv"], ".json or .npz"),
        (["lift", SAMPLE, "--image-size", "wide"], "'wide' is not WIDTHxHEIGHT"),
        (["lift", SAMPLE, "--fps", "0"], "--fps"),
        (["lift"], "Missing argument"),
        (["dance"], "No such command 'dance'"),
        (["models", "show", "x", "--models", "nowhere"], "There is no model 'x'"),
        (["models", "verify", "--models", "nowhere"], "no models in nowhere"),
        (["import", "pstmo", SAMPLE, "--out", "nowhere"], "sample.json"),
        (["pretrain", "no-such-recipe"], "no-such-recipe"),
        (["finetune", "no-such-recipe"], "no-such-recipe"),
        (["data", "bvh", SAMPLE, "--out", "x.npz"], "sample.json"),
        (["data", "bvh", BVH, "--out", "x.npz"], "leg would be"),
        (["data", "bvh", BVH, "--out", "x.npz", "--skip", "121"], "only 121 frames"),
        (["data", "bvh", BVH, "--out", "x.zip"], "as .npz"),
        (["data", "bvh", BVH, "--out", "x.npz", "--split", "trian"], "'trian' is not one of 'train', 'val', 'test'"),
        (["data", "bvh", BVH, "--out", "x.npz", "--unit-m", "0"], "--unit-m"),
        (["data", "bvh", BVH, "--out", "x.npz", "--unit-m", "-1"], "--unit-m"),
        (["models", "list", "--models", "nowhere"], "There is no folder nowhere."),
        (["data", "bvh", "nothing.bvh", "--out", "x.npz"], "nothing.bvh: No such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input_ends_in_a_sentence(arguments, complaint, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, code=2)
    said = result.stderr + capfd.readouterr().err
    assert complaint in said
    assert "Traceback" not in said
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_exits_with_one_line(monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("poselift.formats.readers.keypoint_file.read_keypoints", interrupted)
    assert "stopped" in run("lift", SAMPLE, code=130).stderr


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout == f"poselift {poselift.__version__}\n" == f"poselift {version('poselift')}\n"


def test_the_version_does_not_import_slow_packages():
    code = "import sys, poselift; poselift.__version__; print(*({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
