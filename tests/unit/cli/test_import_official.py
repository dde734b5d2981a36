"""`poselift import`."""

import json
from pathlib import Path

import numpy as np
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.official.mixste import export_mixste
from poselift.lifters.official.mpm import export_mpm
from poselift.lifters.official.pstmo import export_pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.refine import RefineModule
from tests.unit.cli.running import SAMPLE, run


def test_an_official_checkpoint_becomes_an_artifact(tmp_path):
    torch.manual_seed(1)
    lifter = STMO(STMOConfig(frames=9, channels=16, hidden=32, layers=1)).eval()
    state = {f"module.{key}": tensor for key, tensor in export_pstmo(lifter).items()}
    torch.save(state, tmp_path / "no_refine.pth")
    refine = {f"post_refine.{layer}.{part}": tensor for layer, part, tensor in _refine_tensors()}
    torch.save(refine, tmp_path / "refine.pth")
    options = [
        "--name",
        "official",
        "--input-skeleton",
        "coco17",
        "--screen",
        "1000x1002",
        "--refine",
        tmp_path / "refine.pth",
    ]
    folder = Path(
        run("import", "pstmo", tmp_path / "no_refine.pth", "--out", tmp_path / "models", *options).stdout.strip()
    )
    assert folder == tmp_path / "models" / "official" / "1"
    assert (folder / "refine.safetensors").is_file()
    artifact = load_artifact(folder)
    assert artifact.manifest.input_skeleton == "coco17"
    assert artifact.manifest.screen.height_px == 1002
    windows = torch.randn(2, 9, 17, 2)
    with torch.inference_mode():
        torch.testing.assert_close(artifact.lifter(windows).centre, lifter(windows).centre)
    answer = json.loads(run("lift", SAMPLE, "--models", tmp_path / "models").stdout)
    assert np.shape(answer["poses"]) == (100, 17, 3)


def _refine_tensors():
    state = RefineModule(17).state_dict()
    for layer, ours in ((0, "widen"), (3, "narrow")):
        for part in ("weight", "bias"):
            yield layer, part, state[f"{ours}.{part}"]


def test_an_invalid_import_is_not_published(tmp_path):
    lifter = STMO(STMOConfig(frames=9, channels=16, hidden=32, layers=1))
    torch.save(export_pstmo(lifter), tmp_path / "a.pth")
    options = ["--out", tmp_path / "models", "--input-skeleton", "octopus8"]
    assert "octopus8" in run("import", "pstmo", tmp_path / "a.pth", *options, code=2).stderr
    assert not (tmp_path / "models").exists()


def test_an_official_mixste_checkpoint_becomes_an_artifact(tmp_path):
    torch.manual_seed(1)
    lifter = MixSTE(MixSTEConfig(frames=9, channels=16, hidden=32, layers=2)).eval()
    state = {f"module.{key}": tensor for key, tensor in export_mixste(lifter).items()}
    file = tmp_path / "best_epoch.bin"
    torch.save({"epoch": 3, "lr": 4e-5, "random_state": np.random.RandomState(1), "model_pos": state}, file)
    folder = Path(run("import", "mixste", file, "--out", tmp_path / "models").stdout.strip())
    assert folder == tmp_path / "models" / "mixste-official-9" / "1"
    artifact = load_artifact(folder)
    windows = torch.randn(2, 9, 17, 2)
    with torch.inference_mode():
        torch.testing.assert_close(artifact.lifter(windows).frames, lifter(windows).frames)
    shown = run("models", "show", "mixste-official-9", "--models", tmp_path / "models").stdout
    for text in ("(mixste)", "9 frames over 0.16 s", "M per pose"):
        assert text in shown


def test_an_official_mpm_checkpoint_becomes_an_artifact(tmp_path):
    torch.manual_seed(1)
    lifter = MPM(MPMConfig(frames=9, channels=16, hidden=32, layers=1, joints_in=16, joints_out=16)).eval()
    torch.save({f"module.{key}": tensor for key, tensor in export_mpm(lifter).items()}, tmp_path / "a.pth")
    options = ["--out", tmp_path / "models", "--input-skeleton", "h36m16", "--output-skeleton", "h36m16"]
    folder = Path(run("import", "mpm", tmp_path / "a.pth", *options, "--stride", "2").stdout.strip())
    assert folder == tmp_path / "models" / "mpm-official-9" / "1"
    windows = torch.randn(2, 9, 16, 2)
    with torch.inference_mode():
        torch.testing.assert_close(load_artifact(folder).lifter(windows).centre, lifter(windows).centre)
    answer = json.loads(run("lift", SAMPLE, "--models", tmp_path / "models").stdout)
    assert np.shape(answer["poses"]) == (100, 16, 3)


def test_an_import_with_another_number_of_joints_is_refused(tmp_path):
    torch.save(export_mixste(MixSTE(MixSTEConfig(9, 16, 32, 1, joints=16))), tmp_path / "a.bin")
    said = run("import", "mixste", tmp_path / "a.bin", "--out", tmp_path / "models", code=2).stderr
    assert "has 16 joints, and the skeleton h36m17 has 17" in said
    assert not (tmp_path / "models").exists()
