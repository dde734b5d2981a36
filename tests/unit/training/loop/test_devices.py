from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from poselift_training.loop.devices import launch
from poselift_training.loop.loop import train

from poselift.errors import InvalidRecipe
from tests.unit.training.loop.small_run import job, recipe_in, run


@pytest.mark.parametrize(
    ("override", "devices", "path"),
    [("accelerator=cuda", 0, "accelerator"), ("accelerator=cuda", 1, "devices"), ("accelerator=auto", 1, "devices")],
)
def test_missing_devices_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, devices: int, path: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(InvalidRecipe, match="2 of the machine's CUDA devices, and there are") as refusal:
        launch(recipe_in(tmp_path, override, "devices=2"))
    assert refusal.value.path == path


def test_precision_follows_the_device_and_is_kept_when_a_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_in(tmp_path)
    assert recipe.precision == "auto"
    assert launch(recipe_in(tmp_path, "accelerator=cpu"))[1].precision == "32-true"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    supports = {"bfloat16": True}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supports["bfloat16"])
    asked = []

    def fabric(**settings: Any) -> Fabric:
        asked.append(settings["precision"])
        return Fabric(accelerator="cpu", devices=1)

    monkeypatch.setattr("poselift_training.loop.devices.Fabric", fabric)
    assert launch(recipe)[1].precision == "bf16-mixed"
    assert launch(recipe_in(tmp_path, "precision=32-true"))[1].precision == "32-true"
    run(recipe_in(tmp_path, "precision=32-true"), job())
    launched, continued = launch(recipe)
    train(launched, continued, job())
    supports["bfloat16"] = False
    assert launch(recipe_in(tmp_path / "old"))[1].precision == "32-true"
    assert asked == ["bf16-mixed", "32-true", "32-true", "32-true"]


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InvalidRecipe, match="needs a C compiler"):
        launch(recipe_in(tmp_path, "compile=true"))


def test_products_outside_of_autocast_stay_in_float32(tmp_path: Path) -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    launch(recipe_in(tmp_path, "accelerator=cpu"))
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert not torch.backends.cuda.cudnn_sdp_enabled()
