"""Every system is trained and lifts, even one that the tests add."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from poselift_training import finetune, pretrain
from torch import Tensor, nn
from typer.testing import CliRunner

from poselift import load_artifact
from poselift.cli.app import app
from poselift.lifters.costs import Count
from poselift.lifters.lifter import Poses, Task
from poselift.lifters.systems import SYSTEMS, System
from poselift.lifting import lift
from poselift.sequence import Sequence
from poselift.skeletons import Skeleton, skeleton
from tests.integration.training.runs import REPOSITORY, losses


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
    lifts_targets: ClassVar[bool] = False

    frames: int
    joints_in: int = 17
    joints_out: int = 17
    mask_token: bool = True

    @property
    def channels(self) -> int:
        return 2 * self.joints_in


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


def test_a_fourth_system_needs_only_an_entry_and_a_recipe(
    options: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def flops(config: OneLayerConfig) -> Count:
        return Count(0, 2 * config.frames * config.joints_in * 2 * config.joints_out * 3)

    system = System("OneLayer", OneLayerConfig, OneLayer, flops, loss=one_layer_loss)
    monkeypatch.setattr("poselift.lifters.systems.SYSTEMS", {**SYSTEMS, "one": system})
    for module in ("recipe", "pretrain", "finetune", "lifting_objective"):
        monkeypatch.setattr(f"poselift_training.{module}.SYSTEMS", {**SYSTEMS, "one": system})
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
