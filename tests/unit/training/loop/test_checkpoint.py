import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from poselift_training.loop.checkpoint import atomic_save, checkpoint_path, read_checkpoint

from poselift.errors import InvalidRecipe
from tests.unit.training.loop.small_run import job, recipe_in, run


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run(recipe_in(tmp_path), job())
    with pytest.raises(InvalidRecipe, match=r"another 'optimiser\.learning_rate' \(0\.001 there, 0\.5 here\)"):
        run(recipe_in(tmp_path, "optimiser.learning_rate=0.5"), job())
    run(recipe_in(tmp_path, "data.root=/elsewhere", "checkpoint_every_s=1.0", "publish.repository=other"), job())


def test_what_is_published_is_free_unless_the_network_learns_it(tmp_path: Path) -> None:
    run(recipe_in(tmp_path / "one"), job())
    run(recipe_in(tmp_path / "one", "publish.smoothed=true", "publish.name=other"), job())
    run(recipe_in(tmp_path / "all", "system=pstmo-sequence"), job())
    run(recipe_in(tmp_path / "all", "system=pstmo-sequence", "publish.name=other"), job())
    with pytest.raises(InvalidRecipe, match=r"another 'publish\.smoothed'"):
        run(recipe_in(tmp_path / "all", "system=pstmo-sequence", "publish.smoothed=true"), job())


def test_a_crash_while_saving_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_path(tmp_path)
    atomic_save(path, {"format": 1, "step": 1})

    def crash(state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="no space"):
        atomic_save(path, {"format": 1, "step": 2})
    assert read_checkpoint(tmp_path)["step"] == 1


def test_a_folder_without_checkpoint_or_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="no run folder"):
        read_checkpoint(tmp_path)
    for garbage in (b"", b"not a checkpoint", pickle.dumps([1, 2]), b"PK\x03\x04 cut off"):
        checkpoint_path(tmp_path).write_bytes(garbage)
        with pytest.raises(InvalidRecipe, match=r"checkpoint\.pt is not a checkpoint.* delete its folder to start"):
            read_checkpoint(tmp_path)
    atomic_save(checkpoint_path(tmp_path), {"format": 99})
    with pytest.raises(InvalidRecipe, match=r"format 99.* delete its folder to start"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [None, b"not a checkpoint", pickle.dumps([1, 2])])
def test_nobody_is_told_to_delete_the_folder_of_another_run(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        atomic_save(checkpoint_path(tmp_path), {"format": 99})
    else:
        checkpoint_path(tmp_path).write_bytes(content)
    with pytest.raises(
        InvalidRecipe, match=r": set 'init_from' to another run folder or published model\.$"
    ) as refusal:
        read_checkpoint(tmp_path, key="init_from")
    assert refusal.value.path == "init_from"
