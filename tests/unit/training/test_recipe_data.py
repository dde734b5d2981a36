import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from poselift_training.data import Batch
from poselift_training.data.clips import Clip, write_clips
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.windows import SyntheticWindows
from poselift_training.recipe import DataSource, MocapData, Publication, Recipe, load_recipe
from poselift_training.recipe_data import (
    DrawnOnCpu,
    RankShard,
    TrainingData,
    data_sources,
    held_out_parts,
    load_calibration_data,
    load_data,
    scored_parts,
)

from poselift.errors import InvalidDataset
from poselift.live_samples import live_reach


class NoBatches:
    steps_per_epoch = 1

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


def test_the_recipe_takes_precedence_over_the_sources_in_the_data() -> None:
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


def index(root: Path, **subjects: str) -> str:
    common = {"action": "walk", "key": "k", "licence": "none", "shard": "s.npz", "source": "CMU"}
    clips = [common | {"subject": subject, "split": split} for subject, split in subjects.items()]
    root.mkdir()
    (root / "index.json").write_text(json.dumps({"fps": 50, "clips": clips}))
    return str(root)


def test_held_out_people_are_found_in_every_folder_and_split(tmp_path: Path) -> None:
    first, second = index(tmp_path / "first", A="train", B="val", C="test"), index(tmp_path / "second", D="train")
    data = MocapData("mocap", first, also=(second,), held_out=("D", "B"))
    assert held_out_parts(data) == [(first, "val", ("B",)), (second, "train", ("D",))]
    assert held_out_parts(replace(data, held_out=())) == []
    with pytest.raises(InvalidDataset, match="no subject C"):  # the recipe does not read the test split
        held_out_parts(replace(data, held_out=("C",)))


def test_people_to_validate_with_are_scored_in_every_folder_and_those_held_out_by_themselves(tmp_path: Path) -> None:
    first, second = index(tmp_path / "first", A="train"), index(tmp_path / "second", B="val", C="val", D="train")
    data = MocapData("mocap", first, also=(second,))
    assert scored_parts(data) == [(second, "val", (), False)]
    assert scored_parts(replace(data, held_out=("C", "D"))) == [
        (second, "val", ("B",), False),
        (second, "train", ("D",), True),
        (second, "val", ("C",), True),
    ]
    assert scored_parts(replace(data, held_out=("B", "C"))) == [(second, "val", ("B", "C"), True)]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe whose data is one clip of moving joints."""
    joints = np.random.default_rng(1).normal(0, 0.02, (60, 17, 3)).cumsum(axis=0)
    write_clips(tmp_path / "made_up.npz", [Clip("k", "one", joints, "train", "made up", "CC0-1.0", "moving")])
    return load_recipe(Path("smoke"), [f"data.root={tmp_path}"])


def test_nobody_learns_from_people_who_are_held_out(tmp_path: Path) -> None:
    joints = np.random.default_rng(1).normal(0, 0.02, (60, 17, 3)).cumsum(axis=0)
    clips = [
        Clip(split, f"{who} in {split}", joints, split, "made up", "CC0-1.0", "moving")
        for split in ("train", "val")
        for who in ("one", "two")
    ]
    write_clips(tmp_path / "made_up.npz", clips)
    settings = [f"data.root={tmp_path}", "data.validation_splits=['val']"]
    recipe = load_recipe(Path("smoke"), [*settings, "data.held_out=['two in train', 'two in val']"])
    data = load_data(recipe, torch.device("cpu"))
    assert isinstance(data.training, RankShard)
    assert isinstance(data.training.source, SyntheticWindows)
    assert isinstance(data.validation, SyntheticWindows)
    assert data.training.source.motion.subjects == ("one in train",)
    assert data.validation.motion.subjects == ("one in val",)
    calibrated = load_calibration_data(recipe, data, torch.device("cpu"))
    alone = load_recipe(Path("smoke"), [*settings, "data.held_out=['two in train', 'one in val']"])
    other = load_calibration_data(alone, load_data(alone, torch.device("cpu")), torch.device("cpu"))
    everybody = load_calibration_data(load_recipe(Path("smoke"), settings), data, torch.device("cpu"))
    assert calibrated.steps_per_epoch == other.steps_per_epoch < everybody.steps_per_epoch


def test_validation_is_told_nothing_and_the_same_in_all_runs(recipe: Recipe) -> None:
    settings = ["system=pstmo-sequence", f"data.root={cast(MocapData, recipe.data).root}", "network.known=true"]
    settings += ["network.gravity=true", "data.views.known=1.0", "publish.smoothed=true", "data.rare=0.3"]
    settings += ["data.shares={ 'made up' = 2.0 }"]
    first, second = (
        load_data(load_recipe(Path("smoke"), [*settings, f"seed={seed}"]), torch.device("cpu")) for seed in (1, 2)
    )
    assert equal(first.validation.batch(0), second.validation.batch(0))
    assert not equal(first.training.batch(0), second.training.batch(0))
    assert first.validation.batch(0).windows[:, :, 17:].isnan().all()
    assert not first.training.batch(0).windows[:, :, 17:].isnan().any()
    assert first.training.batch(0).joints.shape[2] == 18
    assert isinstance(first.training, RankShard)
    windows = cast(SyntheticWindows, first.training.source)
    expected = SyntheticWindows(
        windows.motion,
        windows.views,
        frames=9,
        stride=cast(MocapData, recipe.data).stride,
        batch_size=windows.batch_size,
        seed=1,
        targets=9,
        shares={"made up": 2.0},
        rare=0.3,
        smoothed=True,
        known=True,
        gravity=True,
    )
    assert equal(windows.batch(3), expected.batch(3))
    assert windows.steps_per_epoch == expected.steps_per_epoch


def test_models_are_calibrated_on_usual_views_whatever_they_learn_from(recipe: Recipe) -> None:
    root = f"data.root={cast(MocapData, recipe.data).root}"
    harder = load_recipe(Path("smoke"), [root, "data.views.focal=[0.8, 0.9]", "data.views.gaps=0.5"])
    cpu = torch.device("cpu")
    usual, hard = (load_calibration_data(one, load_data(one, cpu), cpu) for one in (recipe, harder))
    assert equal(usual.batch(0), hard.batch(0))


@pytest.mark.parametrize(("live_weight", "frames"), [(0, 9), (1, 24)])
def test_live_frames_are_learnt_with_the_past_that_streams_keep(recipe: Recipe, live_weight: int, frames: int) -> None:
    settings = ["system=pstmo-sequence", f"live_weight={live_weight}", f"data.root={cast(MocapData, recipe.data).root}"]
    data = load_data(load_recipe(Path("smoke"), settings), torch.device("cpu"))
    assert live_reach(9) == 23
    assert data.training.batch(0).windows.shape[1] == frames
    assert data.validation.batch(0).windows.shape[1] == 9


def equal(one: Batch, other: Batch) -> bool:
    parts = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(a.cpu().nan_to_num(7), b.cpu().nan_to_num(7)) for a, b in parts)


def test_validation_windows_are_drawn_on_the_cpu_for_another_device(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_data(recipe, torch.device("cpu")).validation.batch(1)
    moved: list[torch.device] = []

    def to(motion: Motion, device: torch.device) -> Motion:
        moved.append(device)
        return motion

    monkeypatch.setattr(Motion, "to", to)
    meta = torch.device("meta")
    validation = load_data(recipe, meta).validation
    assert moved == [meta]  # the training data
    assert isinstance(validation, DrawnOnCpu)
    assert validation.batch(1).windows.is_meta
    assert validation.steps_per_epoch == validation._source.steps_per_epoch
    assert equal(validation._drawn[1], expected)
    monkeypatch.setattr(validation._source, "batch", None)
    assert validation.batch(1).joints.shape == expected.joints.shape


def test_only_the_batches_of_each_validation_are_kept(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motion, "to", lambda motion, _: motion)
    validation = load_data(replace(recipe, validation_batches=2), torch.device("meta")).validation
    assert isinstance(validation, DrawnOnCpu)
    for step in range(4):
        validation.batch(step)
    assert validation._drawn.keys() == {0, 1}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("cameras", [None, 2])
def test_a_gpu_validates_and_calibrates_with_the_windows_of_the_cpu(recipe: Recipe, cameras: int | None) -> None:
    assert isinstance(recipe.data, MocapData)
    recipe = replace(recipe, data=replace(recipe.data, cameras=cameras))
    devices = [torch.device(name) for name in ("cpu", "cuda")]
    data = [load_data(recipe, device) for device in devices]
    assert equal(*(one.validation.batch(0) for one in data))
    assert equal(*(load_calibration_data(recipe, *both).batch(0) for both in zip(data, devices, strict=True)))
    assert equal(*(one.training.batch(0) for one in data)) == (cameras is not None)


def test_fixed_views_are_simulated_on_the_cpu(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motion, "to", None)  # it is not moved to the device
    assert isinstance(recipe.data, MocapData)
    recipe = replace(recipe, data=replace(recipe.data, cameras=2))
    validation = load_data(recipe, torch.device("meta")).validation
    assert vars(validation)["_keypoints"].is_meta  # and moved there when they are drawn
