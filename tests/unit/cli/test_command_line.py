"""The `poselift` command: what it prints, what it writes, and how it ends when it cannot."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from poselift_service.transport.keys import read_keys
from typer.testing import CliRunner

from poselift.__main__ import app
from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.official.mixste import export_mixste
from poselift.lifters.official.mpm import export_mpm
from poselift.lifters.official.pstmo import export_pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.refine import RefineModule
from poselift.lifting import lift

SAMPLE = Path(__file__).parents[3] / "service" / "poselift_service" / "web" / "sample.json"
BVH = Path(__file__).parents[2] / "data" / "cmu_05_15_cut.bvh"
CONFIG = STMOConfig(frames=9, channels=16, hidden=32, layers=1, mask_token=True, person_centred=True)
# Answers are rounded to 10 micrometres.
ROUNDED_M = 1e-5
# What a person still takes for at once; measured at 0.1 s on an idle machine, and test machines are not idle.
AT_ONCE_CPU_S = 0.3


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A repository with an untrained model: the numbers mean nothing, but they are numbers."""
    repository = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    draft = Manifest(
        name="untrained-9",
        system="pstmo",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=2,
        missing_joints="token",
        scores=({"protocol": "none", "mpjpe_mm": 1.5},),
    )
    publish(repository, draft, STMO(CONFIG).eval())
    return repository


def test_help_comes_at_once_and_names_every_command():
    started = time.process_time()
    text = run("--help").output
    assert time.process_time() - started < AT_ONCE_CPU_S
    for command in ("serve", "lift", "pretrain", "finetune", "evaluate", "import", "models", "data", "keys"):
        assert f"  {command} " in text


def test_help_does_not_load_what_is_slow():
    code = "import sys, poselift.__main__; print(*({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_lift_prints_what_lifting_gives(models):
    answer = json.loads(run("lift", SAMPLE, "--models", models).stdout)
    ((_, sequence, *_),) = read_keypoints(SAMPLE)
    artifact = load_artifact(models / "untrained-9" / "1")
    expected = lift(artifact, sequence)
    np.testing.assert_allclose(answer["poses"], expected.joints, atol=ROUNDED_M)
    assert answer["imputed"] == expected.imputed.tolist()
    assert answer["model"] == {"name": "untrained-9", "version": 1, "digest": artifact.manifest.digest}
    assert answer["skeleton"] == "h36m17"
    assert answer["unit"] == "m"
    assert len(answer["joint_names"]) == 17


def test_lift_writes_json_and_arrays(models, tmp_path):
    run("lift", SAMPLE, "--models", models, "-o", tmp_path / "poses.json")
    run("lift", SAMPLE, "--model", models / "untrained-9" / "1", "-o", tmp_path / "poses.npz")
    answer = json.loads((tmp_path / "poses.json").read_text())
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["poses"], answer["poses"], atol=ROUNDED_M)
        assert arrays["imputed"].shape == (100, 17)
        assert arrays["joint_names"].tolist() == answer["joint_names"]
        assert arrays["model"] == "untrained-9@1"


def test_lift_writes_expected_errors_where_the_network_knows_them(models, tmp_path):
    draft = load_artifact(models / "untrained-9" / "1").manifest.model_copy(update={"name": "knowing", "network": {}})
    publish(tmp_path, draft, STMO(replace(CONFIG, expected_error=True)).eval())
    answer = json.loads(run("lift", SAMPLE, "--models", tmp_path).stdout)
    run("lift", SAMPLE, "--models", tmp_path, "-o", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert arrays["expected_error_m"].shape == (100, 17)
        np.testing.assert_allclose(arrays["expected_error_m"], answer["expected_error_m"], atol=ROUNDED_M)
    assert "expected_error_m" not in json.loads(run("lift", SAMPLE, "--models", models).stdout)


def test_lift_several_people(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    frames = document.pop("keypoints")
    document["tracks"] = [{"track_id": name, "keypoints": frames[:20]} for name in ("7", "8")]
    (tmp_path / "tracks.json").write_text(json.dumps(document))
    answer = json.loads(run("lift", tmp_path / "tracks.json", "--models", models).stdout)
    assert [track["track_id"] for track in answer["tracks"]] == ["7", "8"]
    assert "poses" not in answer
    run("lift", tmp_path / "tracks.json", "--models", models, "-o", tmp_path / "tracks.npz")
    with np.load(tmp_path / "tracks.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["8/poses"], answer["tracks"][1]["poses"], atol=ROUNDED_M)


def test_lift_tells_where_a_file_starts(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    results = [
        {"image_id": f"{15 + frame}.jpg", "keypoints": np.ravel(joints).tolist()}
        for frame, joints in enumerate(document["keypoints"][:5])
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    options = ["--models", models, "--fps", "25", "--image-size", "640x480"]
    result = run("lift", tmp_path / "results.json", *options)
    assert "starts with frame 15" in result.stderr
    assert json.loads(result.stdout)["first_frame"] == 15
    run("lift", tmp_path / "results.json", *options, "-o", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert arrays["first_frame"] == 15


@pytest.mark.parametrize("network", [{"frames": 9, "surprise": 1}, {"channels": 16}, {"frames": [27]}])
def test_a_model_that_cannot_be_is_not_shown(models, tmp_path, network):
    folder = tmp_path / "untrained-9" / "1"
    shutil.copytree(models / "untrained-9" / "1", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "network": network}))
    for command in ("show", "verify"):
        assert "is not valid" in run("models", command, "untrained-9", "--models", tmp_path, code=2).stderr


def test_lift_with_the_mirrored_person_is_another_answer(models):
    plain = json.loads(run("lift", SAMPLE, "--models", models).stdout)
    averaged = json.loads(run("lift", SAMPLE, "--models", models, "--mirrored-average").stdout)
    assert np.abs(np.subtract(plain["poses"], averaged["poses"])).max() > 10 * ROUNDED_M


def test_options_stand_above_the_file(models):
    answer = run("lift", SAMPLE, "--models", models, "--fps", "30", "--image-size", "1920x1080")
    assert answer.stdout != run("lift", SAMPLE, "--models", models).stdout
    refused = run("lift", SAMPLE, "--models", models, "--skeleton", "mediapipe33", code=2)
    assert "33 joints" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lift", "nothing.json"], "nothing.json: it cannot be read: No such file"),
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


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta"])
def test_scoring_on_a_device_that_is_not_there(models, tmp_path, device):
    options = ["--model", "untrained-9", "--models", models, "--data", "mocap", "--root", tmp_path]
    said = run("evaluate", *options, "--device", device, code=2).stderr
    assert said == f"poselift: There is no device '{device}' on this machine.\n"


def test_ctrl_c_ends_in_a_word(monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("poselift.formats.readers.keypoint_file.read_keypoints", interrupted)
    assert "stopped" in run("lift", SAMPLE, code=130).stderr


def test_models_are_listed_shown_and_verified(models):
    assert run("models", "list", "--models", models).stdout.split() == ["untrained-9@1"]
    shown = run("models", "show", "untrained-9", "--models", models).stdout
    for text in ("untrained-9@1 (pstmo)", "9 frames over 0.32 s", "mpjpe_mm 1.5", "parameters"):
        assert text in shown
    assert run("models", "verify", "--models", models).stdout == "untrained-9@1 is intact\n"


def test_an_altered_model_is_found(models, tmp_path):
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
def test_the_networks_of_the_paper_cost_what_it_says(preset, counted_parameters, counted_flops, flops):
    shown = run("models", "show", "--preset", preset).stdout
    assert f"{counted_parameters} M as the paper counts" in shown
    assert f"{flops} M per window, {counted_flops} M as the paper counts" in shown


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


def test_an_import_that_cannot_be_published(tmp_path):
    lifter = STMO(STMOConfig(frames=9, channels=16, hidden=32, layers=1))
    torch.save(export_pstmo(lifter), tmp_path / "a.pth")
    options = ["--out", tmp_path / "models", "--input-skeleton", "octopus8"]
    assert "octopus8" in run("import", "pstmo", tmp_path / "a.pth", *options, code=2).stderr
    assert not (tmp_path / "models").exists()


def test_recordings_become_clips(tmp_path):
    said = run(
        "data", "bvh", BVH, "--out", tmp_path / "own.npz", "--unit-m", 0.0254 / 0.45, "--skip", 1, "--subject", "05"
    )
    assert "1 clips, 50 frames" in said.stdout
    (entry,) = json.loads((tmp_path / "index.json").read_text())["clips"]
    assert entry["key"] == "S05/cmu_05_15_cut"
    with np.load(tmp_path / "own.npz") as shard:
        assert shard[entry["key"]].shape == (50, 17, 3)


def test_a_new_key_is_shown_once_with_the_line_to_store(tmp_path):
    shown = dict(line.split(": ") for line in run("keys", "new", "camera-1").output.splitlines())
    key, stored = shown["Key for camera-1, not to be seen again"], shown["Line for the file of keys"]
    (tmp_path / "keys").write_text(stored)
    assert read_keys(tmp_path / "keys").name_of(f"Bearer {key}") == "camera-1"
    assert "letters" in run("keys", "new", "two words", code=2).output


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
