"""The `poselift` command as a whole: its help, and how it ends."""

import errno
import os
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import poselift
from poselift.errors import sentence_about
from tests.unit.cli.running import BVH, SAMPLE, run

CHECKOUT = Path(__file__).parents[3]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name}}", name=name)

sys.meta_path.insert(0, Absent())
from poselift.__main__ import main
main()
"""
MODULES = {
    "serve": ["uvicorn.server", "redis", "grpc", "simdjson"],
    "training": ["lightning_fabric", "tensorboard", "matplotlib.pyplot"],
    "s3": ["s3fs"],
    "otel": ["opentelemetry.sdk"],
    "formats": ["ezc3d", "h5py", "pyarrow.parquet"],
}

# Still immediate for a person; 0.1 s were measured on an idle machine, and test machines are not idle.
IMMEDIATE_CPU_S = 0.3


def test_help_is_immediate_and_names_every_command():
    started = time.process_time()
    text = run("--help").output
    assert time.process_time() - started < IMMEDIATE_CPU_S
    for command in "serve lift complete pretrain finetune evaluate import models data keys".split():
        assert f"  {command} " in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [("poselift mod", {"models"}), ("poselift models v", {"verify"}), ("poselift lift --image", {"--image-size"})],
)
def test_the_shell_completes_commands_and_options(words: str, expected: set[str]):
    asked = {"_POSELIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "poselift"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **asked})
    assert set(ended.stdout.split()) == expected


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
        (["complete", SAMPLE, "-o", "poses.xls"], "written as .json, .npz"),
        (["lift", SAMPLE, "--models", "nowhere"], "there are: none"),
        (["lift", SAMPLE, "--model", "x@3", "--models", "nowhere"], "There is no model 'x'"),
        (["lift", SAMPLE, "-o", "poses.xls"], "written as .json, .npz"),
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
        (["models", "list", "--models", "nowhere"], "There is no folder nowhere; --models names"),
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


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("lightning_fabric", ["pretrain", "smoke-pretrain"], "poselift[training]"),
        ("lightning_fabric", ["finetune", "smoke"], "poselift[training]"),
        ("fastapi", ["serve"], "poselift[serve]"),
        ("pydantic_settings", ["serve"], "poselift[serve]"),
        ("torch", ["lift", SAMPLE], "poselift[lift]"),
        (
            "poselift_training",
            ["evaluate", "--model=m", "--data=mocap", "--root=."],
            "poselift_training is not installed",
        ),
        ("poselift_service", ["keys", "new", "me"], "poselift_service is not installed"),
        ("typer", ["--help"], "poselift[lift]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module, arguments, extra, tmp_path):
    code = WITHOUT.format(module=module)
    environment = {**os.environ, "POSELIFT_PORT": "0", "POSELIFT_GRPC_PORT": "0", "POSELIFT_METRICS_PORT": "0"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert ended.returncode == 2, ended.stderr
    assert extra in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["lift", "x.json"], ["serve"]])
def test_a_checkout_that_is_not_installed_says_so(arguments):
    command = [sys.executable, "-S", "-m", "poselift", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "in a checkout pip install -e" in ended.stderr


def test_our_own_packages_are_installed_from_the_checkout():
    assert sentence_about(PackageNotFoundError("poselift")) == (
        "poselift is not installed; `pip install -e .` in its checkout does that."
    )
    assert sentence_about(ModuleNotFoundError(name="poselift.no_such_module")) is None


def test_every_extra_that_a_user_installs_is_known():
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in ("serve", "training", "s3", "openvino", "otel", "formats"):
        said = [sentence_about(ModuleNotFoundError(name=name)) for name in MODULES.get(extra, [extra])]
        assert extras[extra]
        assert all(sentence is not None and f"'poselift[{extra}]'" in sentence for sentence in said)


def test_a_full_disk_is_reported_and_nothing_is_left(models, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in run("models", "copy", "--models", models, "--out", tmp_path / "copy", code=2).stderr
    assert [path for path in (tmp_path / "copy").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("output", ["poses.json", "poses.npz", None])
def test_poses_for_a_full_disk_are_reported(models, tmp_path, output):
    command = [sys.executable, "-m", "poselift", "lift", str(SAMPLE), "--models", str(models)]
    if output is not None:
        (tmp_path / output).symlink_to("/dev/full")
        command += ["-o", str(tmp_path / output)]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "poselift: No space left on device.\n")
