"""Whole training runs: both stages in turn, a process that is told to stop, two processes that share a batch."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from poselift_training import finetune, pretrain
from poselift_training.data import Batch
from poselift_training.data.clips import Clip, write_clips
from poselift_training.evaluation.metrics import mpjpe
from poselift_training.finetune import Lifting, load_initial_weights, validation_error_mm
from poselift_training.loop.checkpoint import read_checkpoint
from poselift_training.recipe import DataSource, Publication, load_recipe
from poselift_training.recipe_data import TrainingData, data_sources
from torch import Tensor, nn
from typer.testing import CliRunner

from poselift import load_artifact
from poselift.cli.app import app
from poselift.errors import InvalidRecipe
from poselift.lifters.costs import Count
from poselift.lifters.lifter import Poses, Task
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.systems import SYSTEMS, System
from poselift.lifting import Sequence, lift
from poselift.skeletons import Skeleton, skeleton
from tests.integration.share_a_batch import share_a_batch

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"

# A standing figure, Human3.6M joints, metres, z up.
STANDING = np.array(
    [
        *[
            (0, 0, 0.9),
            (-0.1, 0, 0.9),
            (-0.1, 0.02, 0.5),
            (-0.1, 0, 0.09),
            (0.1, 0, 0.9),
            (0.1, 0.02, 0.5),
            (0.1, 0, 0.09),
        ],
        *[(0, 0, 1.12), (0, 0, 1.4), (0, 0.1, 1.5), (0, 0.02, 1.65)],
        *[(0.17, 0, 1.38), (0.19, 0, 1.1), (0.2, 0.05, 0.85), (-0.17, 0, 1.38), (-0.19, 0, 1.1), (-0.2, 0.05, 0.85)],
    ]
)


@pytest.fixture(scope="session")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips of a swaying figure: one to train on, one to be judged by."""
    root = tmp_path_factory.mktemp("mocap")
    phases = np.arange(80)[:, None, None] / 12 + np.arange(17)[:, None]
    for split in ("train", "val"):
        joints = STANDING + 0.05 * np.sin(phases) * np.array([1.0, 1.0, 0.3])
        clip = Clip("sway", f"one_{split}", joints, split, "made up", "CC0-1.0", "swaying")
        write_clips(root / f"made_up_{split}.npz", [clip])
    return root


@pytest.fixture
def options(mocap: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Command line options that let a smoke recipe run on those clips, for a few steps."""

    def with_more(*more: str) -> list[str]:
        given = (f"data.root={mocap}", f"runs={tmp_path}/runs", f"publish.repository={tmp_path}/models")
        small = ("steps=12", "validate_every_steps=6", "batch_size=8", 'data.splits=["train"]', "accelerator=cpu")
        return [f"--override={override}" for override in (*given, *small, *more)]

    return with_more


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As the processes started below: the order of sums must not depend on the number of threads."""
    torch.set_num_threads(1)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()]


def start(*command: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-m", *command], env=environment, stderr=subprocess.PIPE, text=True)


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


def test_the_recipe_words_what_the_data_names_too() -> None:
    data = TrainingData(NoBatches(), NoBatches(), 50.0, 1.0, (("A", "terms"), ("B", "terms"), ("B", "more terms")))
    publication = Publication(data=(DataSource("C", "none"), DataSource("A", "the terms of A")))
    before = (DataSource("A", "as it was"), DataSource("D", "terms of D"))
    said = [(source.source, source.licence) for source in data_sources(publication, data, before)]
    assert said == [
        ("C", "none"),
        ("A", "the terms of A"),
        ("B", "terms"),
        ("B", "more terms"),
        ("D", "terms of D"),
    ]


def test_the_data_of_stage_one_stands_in_the_manifest_too(
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


def smoke_network(*overrides: str) -> STMOConfig:
    network = load_recipe(Path("smoke"), overrides).network
    assert isinstance(network, STMOConfig)
    return network


class NoBatches:
    steps_per_epoch = 1

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


def test_the_root_that_is_set_to_zero_is_the_skeletons() -> None:
    """A joint that happens to lie as still as the root is scored all the same."""
    joints = torch.zeros(2, 9, 17, 3)
    joints[:, :, 1:] = 1.0
    joints[:, :, 0] = 0.5
    source = OneBatch(Batch(torch.zeros(2, 9, 17, 2), torch.zeros(2, 9, 17, 2), joints))
    data = TrainingData(source, source, 50.0, 1.0)
    objective = Lifting(load_recipe(Path("smoke"))).eval()
    objective.skeleton = replace(objective.skeleton, root=16)
    lifter = objective.lifter
    with torch.no_grad():
        centre = lifter(source.batch(0).windows).centre
        assert centre is not None
        centre[:, 16] = 0
        expected = 1000 * mpjpe(centre, joints[:, 4])
        assert validation_error_mm(objective, data, 1) == pytest.approx(float(expected), rel=1e-5)


@dataclass(frozen=True)
class OneBatch:
    only: Batch
    steps_per_epoch: int = 1

    def batch(self, step: int) -> Batch:
        return self.only


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


def test_finetuning_begins_with_the_pretrained_encoder(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options()]) == 0
    run = tmp_path / "runs" / "smoke-pretrain"
    learnt = read_checkpoint(run)["objective"]
    lifter = STMO(smoke_network())
    before = {name: tensor.clone() for name, tensor in lifter.state_dict().items()}
    load_initial_weights(lifter, run)
    for name, tensor in lifter.state_dict().items():
        expected = learnt[f"model.{name}"] if name.startswith(("embedding.", "temporal.")) else before[name]
        assert torch.equal(tensor, expected), name


def test_a_start_of_other_sizes_is_refused(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options()]) == 0
    wider = smoke_network("network.channels=64")
    with pytest.raises(InvalidRecipe, match="does not fit"):
        load_initial_weights(STMO(wider), tmp_path / "runs" / "smoke-pretrain")
    with pytest.raises(InvalidRecipe, match="no run folder"):
        load_initial_weights(STMO(wider), tmp_path)


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


def test_a_process_told_to_stop_saves_and_goes_on_bit_for_bit(
    options: Callable[..., list[str]], tmp_path: Path
) -> None:
    long = ["--override=steps=120", "--override=network.dropout=0.3"]
    assert pretrain.main(["smoke-pretrain", *options(f"runs={tmp_path}/whole"), *long]) == 0
    broken = ["smoke-pretrain", *options(f"runs={tmp_path}/broken"), *long]
    folder = tmp_path / "broken" / "smoke-pretrain"

    with start("poselift_training.pretrain", *broken) as process:
        wait_for(lambda: (folder / "losses.jsonl").exists() and len(losses(folder)) >= 10, process)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "(SIGTERM)" in error
    assert "The same command resumes from there." in error
    assert 10 <= len(losses(folder)) < 120

    assert pretrain.main(broken) == 0
    assert losses(folder) == losses(tmp_path / "whole" / "smoke-pretrain")


BEYOND_THE_PAPER = [
    "network.centred_aggregator=true",
    "network.expected_error=true",
    "optimiser.average=0.9",
    *(f"data.views.{key}=0.3" for key in ("truncated", "swaps", "bursts", "bone_scale", "speed")),
]


@pytest.mark.parametrize(
    ("main", "recipe", "system"),
    [
        (pretrain.main, "smoke-pretrain", ["system=mpm", "masks.lift=3.0", "network.dropout=0.3"]),
        (finetune.main, "smoke", ["system=mpm", "network.frame_dropout=0.3"]),
        (finetune.main, "smoke", ["system=mixste", "network.drop_path=0.3", "optimiser.kind=adamw"]),
        (finetune.main, "smoke", BEYOND_THE_PAPER),
    ],
    ids=["mpm stage I", "mpm", "mixste", "beyond the paper"],
)
def test_every_system_goes_on_bit_for_bit(
    options: Callable[..., list[str]], tmp_path: Path, main: Callable[[list[str]], int], recipe: str, system: list[str]
) -> None:
    def run(name: str, *more: str) -> list[float]:
        assert main([recipe, *options(*system, f"runs={tmp_path}/{name}", "data.views.gaps=0.5"), *more]) == 0
        return losses(tmp_path / name / recipe)

    whole = run("whole")
    assert len(run("broken", "--time-limit=0")) == 1
    assert len(run("broken", "--time-limit=0")) == 2
    assert run("broken") == whole
    assert len(whole) == 12


def test_expected_errors_are_published_calibrated(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert finetune.main(["smoke", *options("network.expected_error=true")]) == 0
    lifter = load_artifact(tmp_path / "models" / "smoke" / "1").lifter
    trained = read_checkpoint(tmp_path / "runs" / "smoke")["objective"]
    assert isinstance(lifter, STMO)
    assert lifter.error_head is not None
    assert torch.equal(lifter.error_head.widen.weight, trained["lifter.error_head.widen.weight"])
    assert not torch.equal(lifter.error_head.out.bias, trained["lifter.error_head.out.bias"])


def test_what_is_trained_can_be_published_smoothed(options: Callable[..., list[str]], tmp_path: Path) -> None:
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


def test_fixed_cameras_train_a_network_that_takes_no_holes(options: Callable[..., list[str]], tmp_path: Path) -> None:
    official = ["network.mask_token=false", "network.person_centred=false", "data.cameras=2"]
    assert finetune.main(["smoke", *options(*official)]) == 0
    assert load_artifact(tmp_path / "models" / "smoke" / "1").manifest.missing_joints == "hold"


def test_what_mpm_learns_in_stage_one_begins_its_lifter(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options("system=mpm")]) == 0
    run = tmp_path / "runs" / "smoke-pretrain"
    learnt = read_checkpoint(run)["objective"]
    network = load_recipe(Path("smoke"), ["system=mpm"]).network
    assert isinstance(network, MPMConfig)
    lifter = MPM(network)
    load_initial_weights(lifter, run)
    state = lifter.state_dict()
    assert torch.equal(state["embedding.encoder.widen.weight"], learnt["model.encoder.widen.weight"])
    assert torch.equal(state["temporal.position"], learnt["model.temporal.position"])
    assert torch.equal(state["embedding.mask_token"], learnt["model.keypoint_token"])


def test_the_three_systems_end_in_artifacts_that_lift(
    options: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for system in ("pstmo", "mixste", "mpm"):
        assert finetune.main(["smoke", *options(f"system={system}", f"name={system}")]) == 0
        artifact = load_artifact(Path(capsys.readouterr().out.splitlines()[-1]))
        assert artifact.manifest.system == system
        keypoints = np.random.default_rng(1).uniform(0, 900, (20, 17, 3)).astype(np.float32)
        keypoints[3, 5] = np.nan
        sequence = Sequence(keypoints, skeleton("h36m17"), 1000, 1000, Sequence.times_at(25, 20))
        assert lift(artifact, sequence).joints.shape == (20, 17, 3)


def test_a_network_that_completes_is_trained_and_scored(
    options: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = options("system=mpm-completion")
    assert finetune.main(["smoke", *system, "--time-limit=0"]) == 0
    assert finetune.main(["smoke", *system]) == 0
    place = Path(capsys.readouterr().out.splitlines()[-1])
    artifact = load_artifact(place)
    assert (artifact.manifest.task, artifact.manifest.missing_joints) == (Task.COMPLETE, "token")
    scores = {score["hidden"]: score["hidden_mm"] for score in artifact.manifest.scores}
    assert scores["0 %"] is None
    assert 0 < scores["left arm"] < 2000

    again = [*system, f"--override=runs={tmp_path}/whole", f"--override=publish.repository={tmp_path}/whole"]
    assert finetune.main(["smoke", *again]) == 0
    assert losses(tmp_path / "whole" / "smoke") == losses(tmp_path / "runs" / "smoke")


@dataclass(frozen=True)
class OneLayerConfig:
    sequence_to_sequence: ClassVar[bool] = False

    frames: int
    joints_in: int = 17
    joints_out: int = 17
    mask_token: bool = True


class OneLayer(nn.Module):
    """A fourth system: one product from a window to the pose of its middle frame."""

    def __init__(self, config: OneLayerConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.frames * config.joints_in * 2, config.joints_out * 3)

    @property
    def receptive_field(self) -> int:
        return self.config.frames

    def embed(self, frames: Tensor) -> Tensor:
        return frames.nan_to_num().flatten(-2)

    def aggregate(self, embedded: Tensor) -> Poses:
        return Poses(self.layer(embedded.flatten(1)).view(-1, self.config.joints_out, 3), None)

    def forward(self, windows: Tensor) -> Poses:
        return self.aggregate(self.embed(windows))

    def for_inference(self) -> "OneLayer":
        return copy.deepcopy(self).eval()


def one_layer_loss(poses: Poses, target: Tensor, _skeleton: Skeleton) -> Tensor:
    assert poses.centre is not None
    return (poses.centre - target[:, target.shape[1] // 2]).abs().mean()


def test_a_fourth_system_takes_an_entry_and_a_recipe(
    options: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def flops(config: OneLayerConfig) -> Count:
        return Count(0, 2 * config.frames * config.joints_in * 2 * config.joints_out * 3)

    system = System("OneLayer", OneLayerConfig, OneLayer, flops, loss=one_layer_loss)
    monkeypatch.setattr("poselift.lifters.systems.SYSTEMS", {**SYSTEMS, "one": system})
    for module in ("poselift_training.recipe", "poselift_training.pretrain", "poselift_training.finetune"):
        monkeypatch.setattr(f"{module}.SYSTEMS", {**SYSTEMS, "one": system})
    recipe = tmp_path / "one.toml"
    lines = (REPOSITORY / "training" / "recipes" / "smoke.toml").read_text().splitlines()
    network = ("channels", "hidden", "layers", "heads", "person_centred")
    recipe.write_text("\n".join(line for line in lines if not line.startswith(network)))

    assert pretrain.main([str(recipe), *options("system=one", "stage=pretrain")]) == 2
    assert "no pretrain stage for OneLayer" in capsys.readouterr().err
    assert finetune.main([str(recipe), *options("system=one")]) == 0
    place = capsys.readouterr().out.splitlines()[-1]
    arguments = ["evaluate", "--model", place, "--data", "mocap", "--split", "val", "--json", "--device", "cpu"]
    root = next(o for o in options() if "data.root" in o).partition("data.root=")[2]
    result = CliRunner().invoke(app, [*arguments, "--root", root, "--missing"])
    report = json.loads(result.output)
    assert report["parameters"] == 9 * 34 * 51 + 51
    assert report["flops_per_frame"] == 2 * 9 * 34 * 51
    assert [row["hidden"] for row in report["missing"]][:2] == ["0 %", "10 %"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_processes_do_the_work_of_one(tmp_path: Path, mocap: Path) -> None:
    """A network without batch statistics and dropout, so that halves of a batch add up to the whole exactly."""
    script = Path(__file__).with_name("share_a_batch.py")
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    with start(*launcher, str(script), str(tmp_path / "two"), str(mocap)) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    share_a_batch(tmp_path / "one")
    first, second, alone = (
        torch.load(tmp_path / name, weights_only=True) for name in ("two/rank0.pt", "two/rank1.pt", "one/rank0.pt")
    )
    for name, weights in first.items():
        assert torch.equal(weights, second[name]), name
        torch.testing.assert_close(weights, alone[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses(tmp_path / "two" / "smoke"), losses(tmp_path / "one" / "smoke"), rtol=1e-5)
    assert len(losses(tmp_path / "two" / "smoke-pretrain")) == 4  # a real stage, BatchNorm and all
