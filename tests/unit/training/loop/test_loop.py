import json
import math
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from poselift_training.loop.loop import (
    Job,
    TrainingStopped,
    checkpoint_path,
    launch,
    learnt,
    read_checkpoint,
    train,
    write_whole,
)
from poselift_training.recipe import Recipe, load_recipe
from torch import Tensor, nn

from poselift.errors import InvalidRecipe


class Regression(nn.Module):
    """A small network with everything a resumed run could get wrong: dropout, BatchNorm statistics, Adam moments."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.layers(x) - y).abs().mean()


def inputs(step: int) -> tuple[Tensor, ...]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return x, x.sum(dim=1, keepdim=True)


def recipe_in(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(Path("smoke"), [f"runs={folder}", "log_every_steps=5", "validate_every_steps=20", *overrides])


def job(steps: int = 40, **changes: Any) -> Job:
    torch.manual_seed(0)
    objective = Regression()
    settings: dict[str, Any] = {
        "objective": objective,
        "inputs": inputs,
        "validate": lambda: {"error": float(objective(*inputs(10_000)))},
        "steps": steps,
        "steps_per_epoch": 10,
    }
    return Job(**settings | changes)


def run(recipe: Recipe, work: Job, time_limit_s: float | None = None) -> None:
    train(Fabric(accelerator="cpu", devices=1), recipe, work, time_limit_s=time_limit_s)


def interrupted_at(step: int, how: Any) -> Any:
    def inputs_until(at: int) -> tuple[Tensor, ...]:
        if at == step:
            how()
        return inputs(at)

    return inputs_until


def losses(recipe: Recipe) -> list[float]:
    lines = [json.loads(line) for line in (recipe.folder / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def same_state(one: Job, other: Job) -> bool:
    pairs = zip(one.objective.state_dict().values(), other.objective.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_by_a_signal_goes_on_bit_for_bit(tmp_path: Path, number: signal.Signals) -> None:
    whole, broken = recipe_in(tmp_path / "whole"), recipe_in(tmp_path / "broken")
    unbroken = job()
    run(whole, unbroken)
    handler = signal.getsignal(number)

    with pytest.raises(TrainingStopped, match=rf"step 18 of 40 \({number.name}\).*same command") as stopped:
        run(broken, job(inputs=interrupted_at(17, lambda: os.kill(os.getpid(), number))))
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is handler
    assert len(losses(broken)) == 18

    resumed = job()
    run(broken, resumed)
    assert losses(broken) == losses(whole)
    assert same_state(resumed, unbroken)
    validation = [(recipe.folder / "validation.jsonl").read_text() for recipe in (whole, broken)]
    assert validation[0] == validation[1]
    assert [json.loads(line)["step"] for line in validation[0].splitlines()] == [20, 40]


def test_the_average_of_the_weights_is_what_a_run_ends_with(tmp_path: Path) -> None:
    plain, averaged = job(), job()
    run(recipe_in(tmp_path / "plain"), plain)
    run(recipe_in(tmp_path / "averaged", "optimiser.average=0.9"), averaged)
    assert losses(recipe_in(tmp_path / "plain")) == losses(recipe_in(tmp_path / "averaged"))  # it teaches nothing
    assert not same_state(plain, averaged)
    kept = read_checkpoint(tmp_path / "averaged" / "smoke")
    assert all(torch.equal(tensor, plain.objective.state_dict()[name]) for name, tensor in kept["objective"].items())
    assert all(torch.equal(tensor, averaged.objective.state_dict()[name]) for name, tensor in learnt(kept).items())


def test_the_average_does_not_remember_the_beginning(tmp_path: Path) -> None:
    averaged, untrained = job(), job()
    recipe = recipe_in(tmp_path, "optimiser.average=0.9999")  # forty steps would leave nearly all of it
    run(recipe, averaged)
    last, first = read_checkpoint(recipe.folder)["objective"], untrained.objective.state_dict()
    name = "layers.0.weight"
    average = averaged.objective.state_dict()[name]
    assert (average - last[name]).norm() < 0.5 * (first[name] - last[name]).norm()


def test_the_average_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, broken = (recipe_in(tmp_path / name, "optimiser.average=0.9") for name in ("whole", "broken"))
    unbroken, resumed = job(), job()
    run(whole, unbroken)
    with pytest.raises(TrainingStopped):
        run(broken, job(inputs=interrupted_at(17, lambda: os.kill(os.getpid(), signal.SIGTERM))))
    run(broken, resumed)
    assert same_state(resumed, unbroken)
    run(broken, again := job())  # nothing is left to do, and the result is the same
    assert same_state(again, unbroken)


def test_what_was_logged_beyond_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    with pytest.raises(TrainingStopped):
        run(recipe, job(), time_limit_s=0)
    assert len(losses(recipe)) == 1
    log = recipe.folder / "losses.jsonl"
    log.write_text(log.read_text() + '{"step": 2, "loss": 9.0}\n{"step": 3, "lo')  # a kill after the checkpoint
    run(recipe, job())
    assert len(losses(recipe)) == 40
    assert 9.0 not in losses(recipe)


def test_the_time_limit_stops_cleanly(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)

    def slow_inputs(step: int) -> tuple[Tensor, ...]:
        time.sleep(0.01)
        return inputs(step)

    with pytest.raises(TrainingStopped, match=r"time limit.*same command") as stopped:
        run(recipe, job(steps=10_000, inputs=slow_inputs), time_limit_s=0.1)
    assert stopped.value.exit_code == 0
    assert read_checkpoint(recipe.folder)["step"] == len(losses(recipe)) < 100


def test_a_finished_run_is_loaded_and_not_trained_on(tmp_path: Path) -> None:
    recipe, finished, again = recipe_in(tmp_path), job(), job()
    run(recipe, finished)
    run(recipe, again)
    assert same_state(finished, again)
    assert len(losses(recipe)) == 40


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path, value: float) -> None:
    recipe = recipe_in(tmp_path, "checkpoint_every_s=0.0")

    def poisoned(step: int) -> tuple[Tensor, ...]:
        x, y = inputs(step)
        return x, y * value if step == 22 else y

    with pytest.raises(InvalidRecipe, match=r"step 23 at learning rate 0\.\d+: lower .*is kept") as refusal:
        run(recipe, job(inputs=poisoned))
    assert refusal.value.path == "optimiser.learning_rate"
    checkpoint = read_checkpoint(recipe.folder)
    assert checkpoint["step"] == 20
    assert all(bool(tensor.isfinite().all()) for tensor in checkpoint["objective"].values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, "checkpoint_every_s=0.0")
    work = job()

    def broken_weight(step: int) -> tuple[Tensor, ...]:
        if step == 40 - 1:  # the loss of this step still comes from sound weights
            hook = next(work.objective.parameters()).register_hook(lambda gradient: gradient * math.nan)
            assert hook is not None
        return inputs(step)

    work = job(objective=work.objective, inputs=broken_weight)
    with pytest.raises(InvalidRecipe, match="weight is no longer finite after step 40"):
        run(recipe, work)
    assert read_checkpoint(recipe.folder)["step"] == 35


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run(recipe_in(tmp_path), job())
    with pytest.raises(InvalidRecipe, match=r"another 'optimiser\.learning_rate' \(0\.001 there, 0\.5 here\)"):
        run(recipe_in(tmp_path, "optimiser.learning_rate=0.5"), job())
    run(recipe_in(tmp_path, "data.root=/elsewhere", "checkpoint_every_s=1.0", "publish.repository=other"), job())


def test_a_crash_while_saving_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_path(tmp_path)
    write_whole(path, {"format": 1, "step": 1})

    def crash(state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, {"format": 1, "step": 2})
    assert read_checkpoint(tmp_path)["step"] == 1


def test_a_folder_without_checkpoint_or_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="no run folder"):
        read_checkpoint(tmp_path)
    for garbage in (b"", b"not a checkpoint", pickle.dumps([1, 2]), b"PK\x03\x04 cut off"):
        checkpoint_path(tmp_path).write_bytes(garbage)
        with pytest.raises(InvalidRecipe, match=r"checkpoint\.pt is not a checkpoint"):
            read_checkpoint(tmp_path)
    write_whole(checkpoint_path(tmp_path), {"format": 99})
    with pytest.raises(InvalidRecipe, match="format 99"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("override", "devices", "path"),
    [("accelerator=cuda", 0, "accelerator"), ("accelerator=cuda", 1, "devices"), ("accelerator=auto", 1, "devices")],
)
def test_devices_that_are_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, devices: int, path: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(InvalidRecipe, match="2 of the machine's CUDA devices, and there are") as refusal:
        launch(recipe_in(tmp_path, override, "devices=2"))
    assert refusal.value.path == path


def test_precision_follows_the_device_and_a_run_keeps_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_in(tmp_path)
    assert recipe.precision == "auto"
    assert launch(recipe_in(tmp_path, "accelerator=cpu"))[1].precision == "32-true"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = []

    def fabric(**settings: Any) -> Fabric:
        asked.append(settings["precision"])
        return Fabric(accelerator="cpu", devices=1)

    monkeypatch.setattr("poselift_training.loop.loop.Fabric", fabric)
    assert launch(recipe)[1].precision == "bf16-mixed"
    assert launch(recipe_in(tmp_path, "precision=32-true"))[1].precision == "32-true"
    run(recipe_in(tmp_path, "precision=32-true"), job())
    launched, continued = launch(recipe)
    train(launched, continued, job())
    assert asked == ["bf16-mixed", "32-true", "32-true"]
