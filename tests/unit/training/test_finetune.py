"""What stage II starts from, and how it is validated."""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from poselift_training.data import Batch
from poselift_training.data.clips import Clip, write_clips
from poselift_training.evaluation.metrics import mpjpe
from poselift_training.finetune import finetune, load_initial_weights, merge_weights, validation_error_mm
from poselift_training.lifting_objective import Lifting
from poselift_training.loop.checkpoint import checkpoint_path
from poselift_training.recipe import SHIPPED, Merge, load_recipe
from poselift_training.recipe_data import TrainingData

from poselift.artifacts.manifest import DataSource, Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.verify import read_manifest
from poselift.errors import InvalidRecipe
from poselift.lifters.systems import SYSTEMS, build
from tests.unit.training.objectives import recipe


def earlier_draft(system: str, network: dict[str, Any], **changes: Any) -> Manifest:
    fields: dict[str, Any] = {"input_skeleton": "h36m17", "output_skeleton": "h36m17", "missing_joints": "token"}
    fields |= {"frame_rate_hz": 50, "temporal_stride": 1, **changes}
    return Manifest(name="earlier", system=system, network=network, **fields)


def test_weights_are_merged_with_those_of_an_artifact(tmp_path: Path) -> None:
    torch.manual_seed(1)
    earlier, lifter = (Lifting(recipe("finetune", "pstmo-sequence")).lifter for _ in range(2))
    draft = earlier_draft("pstmo-sequence", {})
    publish(tmp_path, draft, earlier)
    before, trained = (copy.deepcopy(cast(torch.nn.Module, part).state_dict()) for part in (earlier, lifter))
    merge_weights(lifter, Merge(str(tmp_path / "earlier" / "1"), 0.25), SYSTEMS["pstmo-sequence"])
    for name, tensor in cast(torch.nn.Module, lifter).state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.25 * before[name] + 0.75 * trained[name])
        else:
            assert torch.equal(tensor, trained[name])


def test_only_what_comes_from_earlier_weights_is_averaged(tmp_path: Path) -> None:
    sizes = {"frames": 9, "channels": 16, "hidden": 24, "layers": 1, "heads": 2, "mask_token": True}
    sizes |= {"person_centred": True}
    draft = earlier_draft("pstmo", sizes)
    publish(tmp_path, draft, build("pstmo", sizes))
    grown = build("pstmo-sequence", sizes | {"hidden": 32, "layers": 2, "known": True, "gravity": True})
    trained = copy.deepcopy(cast(torch.nn.Module, grown).state_dict())
    merge_weights(grown, Merge(str(tmp_path / "earlier" / "1"), 0.5), SYSTEMS["pstmo-sequence"])
    merged = cast(torch.nn.Module, grown).state_dict()

    def stays(name: str) -> torch.Tensor:
        return merged[name] == trained[name]

    known = stays("embedding.encoder.widen.weight")[:, -12:]
    assert known.all()
    assert not stays("embedding.encoder.widen.weight")[:, :-12].any()
    assert stays("frames_head.out.weight")[51:].all()
    assert not stays("frames_head.out.weight")[:51].any()
    assert stays("temporal.layers.0.widen.weight")[24:].all()
    assert not stays("temporal.layers.0.widen.weight")[:24].any()
    assert stays("temporal.layers.1.attention.query_key_value.weight").all()


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_recipe_whose_start_is_missing_says_what_to_do(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["publish.repository=elsewhere", "accelerator=cpu"]
    with pytest.raises(InvalidRecipe, match=f"27/{version - 1}, which does not exist: train or restore") as refusal:
        finetune(load_recipe(Path(f"pstmo-tiny-27-{version}"), options))
    assert refusal.value.path == "init_from"


def test_a_recipe_without_its_first_stage_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidRecipe, match="make it with `poselift pretrain pstmo-tiny-27-pretrain`, or set 'init_from'"
    ):
        finetune(load_recipe(Path("pstmo-tiny-27"), ["publish.repository=elsewhere", "accelerator=cpu"]))
    with pytest.raises(InvalidRecipe, match="make it with `poselift finetune pstmo-sequence-27-2`"):
        finetune(load_recipe(Path("pstmo-tiny-27-5"), ["publish.repository=elsewhere", "accelerator=cpu"]))


def test_what_is_merged_at_the_end_must_be_there_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["merge.start=nothing", "merge.share=0.5", "publish.repository=elsewhere", "accelerator=cpu"]
    with pytest.raises(InvalidRecipe, match=r"or set 'merge\.start' to another") as refusal:
        finetune(load_recipe(Path("smoke"), options))
    assert refusal.value.path == "merge.start"


def test_a_model_names_the_data_behind_the_weights_it_was_merged_with(tmp_path: Path) -> None:
    joints = np.random.default_rng(1).normal(0, 0.02, (60, 17, 3)).cumsum(axis=0)
    clips = [
        Clip(split, f"{split} {number}", joints, split, "made up", "CC0-1.0", "moving")
        for split in ("train", "val")
        for number in range(2)
    ]
    write_clips(tmp_path / "made_up.npz", clips)
    options = [f"data.root={tmp_path}", f"runs={tmp_path}", f"publish.repository={tmp_path}", "accelerator=cpu"]
    options += ["data.validation_splits=['val']", "data.held_out=['val 1']", "steps=2", "publish.name=merged"]
    earlier = Lifting(load_recipe(Path("smoke"), options)).lifter
    draft = earlier_draft("pstmo", asdict(earlier.config), data=(DataSource(source="secret", licence="nobody's"),))
    start = publish(tmp_path, draft, earlier)
    address = finetune(load_recipe(Path("smoke"), [*options, f"merge.start={start}", "merge.share=0.5"]))
    manifest = read_manifest(address)
    assert [(data.source, data.licence) for data in manifest.data] == [("made up", "CC0-1.0"), ("secret", "nobody's")]
    assert {tuple(score.get("held_out", ())) for score in manifest.scores} == {(), ("val 1",)}


def test_a_many_to_one_network_of_other_sizes_is_no_start(tmp_path: Path) -> None:
    sizes = {"frames": 9, "channels": 16, "hidden": 24, "layers": 2, "heads": 2, "mask_token": True}
    sizes |= {"person_centred": True}
    draft = earlier_draft("pstmo", sizes)
    start = Path(publish(tmp_path, draft, build("pstmo", sizes)))
    system = SYSTEMS["pstmo-sequence"]
    for other in ({"layers": 1}, {"channels": 32}, {"frames": 27}):
        with pytest.raises(InvalidRecipe, match="does not fit this recipe's"):
            load_initial_weights(build("pstmo-sequence", sizes | other), start, system.start_from)
    load_initial_weights(build("pstmo-sequence", sizes | {"layers": 3, "hidden": 48}), start, system.start_from)


@pytest.mark.parametrize("key", ["init_from", "merge.start"])
def test_a_broken_run_to_start_from_is_not_to_be_deleted(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint_path(tmp_path / "earlier").parent.mkdir()
    checkpoint_path(tmp_path / "earlier").write_bytes(b"cut off")
    options = [f"{key}=earlier", "publish.repository=elsewhere", "accelerator=cpu"]
    options += ["merge.share=0.5"] if key == "merge.start" else []
    with pytest.raises(InvalidRecipe, match=f"set '{key}' to another run folder or published model"):
        finetune(load_recipe(Path("smoke"), options))


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_a_recipe_that_starts_from_an_older_version_says_how_to_get_it(file: Path) -> None:
    text = file.read_text()
    recipe = load_recipe(file)
    starts = {recipe.init_from, recipe.merge.start if recipe.merge is not None else None}
    for start in (start for start in starts if start and start.startswith("models/")):
        is_there = (SHIPPED.parents[1] / start).is_dir()
        assert is_there or f'git checkout "$(git rev-list -n 1 HEAD -- {start})^" -- {start}' in text


@dataclass(frozen=True)
class OneBatch:
    only: Batch
    steps_per_epoch: int = 1

    def batch(self, step: int) -> Batch:
        return self.only


def test_the_root_of_the_skeleton_is_set_to_zero() -> None:
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
