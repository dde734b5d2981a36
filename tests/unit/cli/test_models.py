"""`poselift models`."""

import json
import shutil

import pytest

from tests.unit.cli.running import run


@pytest.mark.parametrize("network", [{"frames": 9, "surprise": 1}, {"channels": 16}, {"frames": [27]}])
def test_an_impossible_model_is_not_shown(models, tmp_path, network):
    folder = tmp_path / "untrained-9" / "1"
    shutil.copytree(models / "untrained-9" / "1", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "network": network}))
    for command in ("show", "verify"):
        assert "is not valid" in run("models", command, "untrained-9", "--models", tmp_path, code=2).stderr


def test_models_are_listed_shown_and_verified(models):
    assert run("models", "list", "--models", models).stdout.split() == ["untrained-9@1"]
    shown = run("models", "show", "untrained-9", "--models", models).stdout
    for text in ("untrained-9@1 (pstmo)", "9 frames over 0.32 s", "mpjpe_mm", " 1.5\n", "parameters"):
        assert text in shown
    assert run("models", "verify", "--models", models).stdout == "untrained-9@1 is intact\n"


def test_an_altered_model_fails_verification(models, tmp_path):
    folder = tmp_path / "untrained-9" / "1"
    folder.mkdir(parents=True)
    for file in (models / "untrained-9" / "1").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert "SHA-256 differs" in run("models", "verify", "--models", tmp_path, code=2).stderr


# Table 6 of the paper, with the digits that the official code gives; parameters and FLOPs in millions.
@pytest.mark.parametrize(
    ("preset", "counted_parameters", "counted_flops", "flops"),
    [
        ("s-27", "4.648", "163.3", "166.0"),
        ("s-81", "5.436", "492.9", "519.5"),
        ("s-243", "6.224", "1481.9", "1727.8"),
        ("full-243", "6.750", "1736.7", "2043.1"),
    ],
)
def test_presets_cost_what_the_paper_says(preset, counted_parameters, counted_flops, flops):
    shown = run("models", "show", "--preset", preset).stdout
    assert f"{counted_parameters} M as the paper counts" in shown
    assert f"{flops} M per window, {counted_flops} M as the paper counts" in shown
