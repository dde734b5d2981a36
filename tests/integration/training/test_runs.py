"""Whole training runs: both stages in turn, and what they publish."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from poselift_training import finetune, pretrain
from poselift_training.loop.checkpoint import read_checkpoint
from poselift_training.recipe import load_recipe
from typer.testing import CliRunner

from poselift import load_artifact
from poselift.cli.app import app
from poselift.lifters.pstmo.network import STMO
from tests.integration.training.runs import GOLDEN, REPOSITORY


def test_both_stages_end_in_an_artifact_that_loads(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(["smoke-pretrain", *options()]) == 0
    begun = ["smoke", *options(f"init_from={tmp_path}/runs/smoke-pretrain")]
    assert finetune.main(begun) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder == tmp_path / "models" / "smoke" / "1"

    artifact = load_artifact(folder)
    assert artifact.lifter(torch.zeros(1, 9, 17, 2)).centre is not None
    manifest = artifact.manifest
    assert (manifest.frame_rate_hz, manifest.temporal_stride, manifest.missing_joints) == (50.0, 6, "token")
    recipe = load_recipe(Path("smoke"), [o.removeprefix("--override=") for o in begun[1:]])
    assert manifest.recipe == replace(recipe, precision="32-true").as_dict()
    assert [source.model_dump() for source in manifest.data] == [{"source": "made up", "licence": "CC0-1.0"}]
    assert {score["poses"] for score in manifest.scores} >= {"plain"}
    assert all(0 < score["mpjpe_mm"] < 2000 for score in manifest.scores)

    assert finetune.main(begun) == 0  # a finished run is published once
    assert Path(capsys.readouterr().out.splitlines()[-1]) == folder
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["1"]
    assert list((tmp_path / "runs" / "smoke").glob("events.*"))

    elsewhere = [*begun, f"--override=publish.repository={tmp_path}/elsewhere"]
    assert finetune.main(elsewhere) == 0  # a note that points out of the repository is not trusted,
    published = tmp_path / "elsewhere" / "smoke" / "1"
    assert Path(capsys.readouterr().out.splitlines()[-1]) == published
    shutil.rmtree(published)
    assert finetune.main(elsewhere) == 0  # and neither is one that points to nothing
    assert load_artifact(published).manifest.name == "smoke"


def test_the_manifest_lists_the_data_of_stage_one_too(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "publish.data=[{source='earlier', licence='its terms'}]"
    assert pretrain.main(["smoke-pretrain", *options(said)]) == 0
    begun = ["smoke", *options(f"init_from={tmp_path}/runs/smoke-pretrain")]
    assert finetune.main([*begun, "--time-limit=0"]) == 0
    shutil.rmtree(tmp_path / "runs" / "smoke-pretrain")
    assert finetune.main(begun) == 0
    first = Path(capsys.readouterr().out.splitlines()[-1])
    assert {source.source for source in load_artifact(first).manifest.data} == {"made up", "earlier"}
    assert finetune.main(["smoke", *options(f"init_from={first}", "name=further")]) == 0
    further = Path(capsys.readouterr().out.splitlines()[-1])
    assert {source.source for source in load_artifact(further).manifest.data} == {"made up", "earlier"}


def test_a_fresh_clone_can_run_both_smoke_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/training.md says: their data are the recording that the tests come with."""
    monkeypatch.chdir(tmp_path)
    said = (REPOSITORY / "docs" / "training.md").read_text()
    (convert,) = (line.strip() for line in said.splitlines() if "--out data/smoke/" in line)
    arguments = convert.replace("tests/data", str(REPOSITORY / "tests" / "data")).split("#")[0].split()[1:]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    short = ["-o", "steps=2", "-o", "batch_size=2", "-o", "accelerator=cpu"]
    assert pretrain.main(["smoke-pretrain", *short]) == 0
    assert finetune.main(["smoke", *short]) == 0
    assert load_artifact(tmp_path / "runs" / "models" / "smoke" / "1").manifest.scores


def test_recorded_data_trains_both_stages(tmp_path: Path) -> None:
    more = [f"--override=runs={tmp_path}/runs", f"--override=publish.repository={tmp_path}/models"]
    small = [
        f"--override={key}" for key in ("batch_size=4", "network.channels=32", "network.hidden=32", "accelerator=cpu")
    ]
    length = ["--override=steps=3", "--override=network.frames=9", "--override=validation_batches=1"]
    recipe = tmp_path / "recipe.toml"
    for name, root in (("pstmo-s-81-3dhp", "tiny_3dhp"), ("pstmo-s-243-h36m-gt", "tiny_h36m")):
        for main, stage in ((pretrain.main, "-pretrain"), (finetune.main, "")):
            shipped = REPOSITORY / "training" / "recipes" / f"{name}{stage}.toml"
            recipe.write_text(shipped.read_text().replace("epochs = 79\n", "").replace('"runs/', f'"{tmp_path}/runs/'))
            assert main([str(recipe), *more, *small, *length, f"--override=data.root={GOLDEN / root}"]) == 0
    assert load_artifact(tmp_path / "models" / "pstmo-s-81-3dhp" / "1").manifest.unit_m == 0.001
    assert load_artifact(tmp_path / "models" / "pstmo-s-243-h36m-gt" / "1").manifest.unit_m == 1.0


def test_bad_input_ends_with_code_2_and_one_sentence(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(["smoke", *options()]) == 2
    assert "is a finetune recipe: start it with `poselift finetune`" in capsys.readouterr().err
    assert finetune.main(["smoke", *options(f"data.root={tmp_path}/absent")]) == 2
    error = capsys.readouterr().err
    assert "absent" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("more", [[], ["data.cameras=1"]])
def test_data_that_does_not_fill_a_batch_is_refused_before_the_first_step(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    """Validation has 80 frames, and as many mirrored; training windows are drawn anew and fill any batch."""
    assert finetune.main(["smoke", *options("batch_size=161", *more)]) == 2
    error = capsys.readouterr().err
    assert "160 windows, but one step takes 161: lower the batch size (-o batch_size=160 or less)" in error
    assert "split train: " in error  # the smoke recipe validates with what it trains on
    assert not list((tmp_path / "runs").rglob("losses.jsonl"))


def test_a_lifter_to_merge_with_is_missed_before_the_first_step(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merge = (f"merge.start={tmp_path}/absent", "merge.share=0.5")
    assert finetune.main(["smoke", *options(*merge)]) == 2
    assert "absent, which does not exist" in capsys.readouterr().err
    assert not list((tmp_path / "runs").rglob("losses.jsonl"))


def test_expected_errors_are_published_calibrated(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert finetune.main(["smoke", *options("network.expected_error=true")]) == 0
    lifter = load_artifact(tmp_path / "models" / "smoke" / "1").lifter
    trained = read_checkpoint(tmp_path / "runs" / "smoke")["objective"]
    assert isinstance(lifter, STMO)
    assert lifter.error_head is not None
    assert torch.equal(lifter.error_head.widen.weight, trained["lifter.error_head.widen.weight"])
    assert not torch.equal(lifter.error_head.out.bias, trained["lifter.error_head.out.bias"])


def test_a_run_can_be_published_smoothed(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert finetune.main(["smoke", *options()]) == 0
    assert finetune.main(["smoke", *options("publish.name=calm", "publish.smoothed=true")]) == 0
    plain, calm = (load_artifact(tmp_path / "models" / name / "1").manifest for name in ("smoke", "calm"))
    assert plain.weights_sha256 == calm.weights_sha256
    assert (plain.smoothed, calm.smoothed) == (False, True)
    velocities = [
        [score["velocity_mm"] for score in manifest.scores if score.get("keypoints") == "detector-like"]
        for manifest in (plain, calm)
    ]
    assert velocities[0]
    assert all(smoothed < single for single, smoothed in zip(*velocities, strict=True)), velocities


def test_fixed_cameras_train_a_network_without_mask_token(options: Callable[..., list[str]], tmp_path: Path) -> None:
    official = ["network.mask_token=false", "network.person_centred=false", "data.cameras=2"]
    assert finetune.main(["smoke", *options(*official)]) == 0
    assert load_artifact(tmp_path / "models" / "smoke" / "1").manifest.missing_joints == "hold"
