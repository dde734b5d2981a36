"""Runs that are stopped and resumed."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from poselift_training import finetune, pretrain

from tests.integration.training.runs import losses, start, wait_for


def test_a_process_that_is_stopped_saves_and_resumes_bit_for_bit(
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


ALL_EXTENSIONS = [
    "network.centred_aggregator=true",
    "network.expected_error=true",
    "optimiser.average=0.9",
    "optimiser.kind=muon",
    *(f"data.views.{key}=0.3" for key in ("truncated", "swaps", "bursts", "bone_scale", "speed", "exact")),
]


@pytest.mark.parametrize(
    ("main", "recipe", "system"),
    [
        (pretrain.main, "smoke-pretrain", ["system=mpm", "masks.lift=3.0", "network.dropout=0.3"]),
        (finetune.main, "smoke", ["system=mpm", "network.frame_dropout=0.3"]),
        (finetune.main, "smoke", ["system=mixste", "network.drop_path=0.3", "optimiser.kind=adamw"]),
        (finetune.main, "smoke", ALL_EXTENSIONS),
    ],
    ids=["mpm stage I", "mpm", "mixste", "beyond the paper"],
)
def test_every_system_resumes_bit_for_bit(
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
