import re
from pathlib import Path

import pytest
from poselift_training import recipe as config
from poselift_training.optimiser_config import Cosine
from poselift_training.recipe import load_recipe, recipe_from

from poselift.artifacts.verify import read_manifest
from poselift.errors import InvalidRecipe
from poselift.lifters.mixste.network import MixSTEConfig
from poselift.lifters.mpm.network import MPMConfig
from poselift.lifters.systems import configure
from tests.shipped_model import SHIPPED_MODEL

RECIPES = sorted(config.SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_named_like_its_file_and_can_be_stored(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe_from(recipe.as_dict()) == recipe


def test_a_shipped_recipe_is_found_by_its_name() -> None:
    assert load_recipe(Path("smoke")).name == "smoke"


def test_overrides_are_toml_values_or_else_strings() -> None:
    recipe = load_recipe(
        Path("smoke"),
        [
            "data.root=/mnt/mocap",
            "steps=7",
            "optimiser.learning_rate=2e-4",
            "optimiser.schedule.warmup_steps=3",
            'data.splits=["train", "val"]',
            "data.views.noise=false",
            "publish.name=other",
        ],
    )
    assert isinstance(recipe.data, config.MocapData)
    assert (recipe.data.root, recipe.steps, recipe.optimiser.learning_rate) == ("/mnt/mocap", 7, 2e-4)
    assert recipe.optimiser.schedule == Cosine("cosine", warmup_steps=3)
    assert recipe.data.splits == ("train", "val")
    assert recipe.data.views.noise is False
    assert recipe.publish.name == "other"


REFUSALS = [
    ("btach_size=3", "btach_size", "did you mean 'batch_size'"),
    ("network.chanels=3", "network.chanels", "did you mean 'network.channels'"),
    ("data.views.fokal=[1.0, 2.0]", "data.views.fokal", "did you mean 'data.views.focal'"),
    ("nothing.like.it=3", "nothing", "no key 'nothing'; there are name, "),
    ("optimiser.schedule.decay_per_epoch=0.9", "optimiser.schedule.decay_per_epoch", "does not go with this kind"),
    ("data.keypoints=gt", "data.keypoints", "does not go with this kind of data"),
    ("data.kind=h37m", "data.kind", "h36m"),
    ("data=3", "data", "object"),
    ("data.splits=[]", "data.splits", "must not be empty"),
    ('data.splits=["tset"]', "data.splits.0", "'train', 'val' or 'test'"),
    ("data.stride=0", "data.stride", "greater than 0"),
    ("data.root=", "data.root", "at least 1 character"),
    ("optimiser.schedule.kind=cos", "optimiser.schedule.kind", "'cosine'"),
    ("optimiser.learning_rate=-1", "optimiser.learning_rate", "greater than 0"),
    ("optimiser.learning_rate=nan", "optimiser.learning_rate", "finite"),
    ("optimiser.betas=[0.9, 1.0]", "optimiser.betas.1", "less than 1"),
    ("optimiser.clip_norm=0", "optimiser.clip_norm", "greater than 0"),
    ("batch_size=0", "batch_size", "greater than 0"),
    ("batch_size='16'", "batch_size", "a whole number"),
    ("batch_size=16.5", "batch_size", "a whole number"),
    ("steps=true", "steps", "a whole number"),
    ("steps=2024-01-01", "steps", "a whole number"),
    ("epochs=3", "steps", "exactly one"),
    ("seed=-1", "seed", "0"),
    ("precision=fp8", "precision", "bf16-mixed"),
    ("stage=train", "stage", "pretrain"),
    ("name='a b'", "name", "must match"),
    ("network.frames=28", "network.frames", "27"),
    ("network.channels=33", "network.channels", "heads"),
    ("network.joints_in=18", "publish.input_skeleton", "18 joints"),
    ("publish.output_skeleton=h37m", "publish.output_skeleton", "h36m17"),
    ("publish.output_skeleton=coco17", "publish.output_skeleton", "with a root"),
    ("network.mask_token=false", "network.mask_token", "'data.views.noise': that leaves joints out"),
    ("masks.joints=17", "masks.joints", "17 joints"),
    ("masks.temporal_rate=1.0", "masks.temporal_rate", "less than 1"),
    ("steps.x=3", "steps.x", "single value"),
    ("system=pstm", "system", "'pstmo', 'mixste', 'mpm'"),
    ("network.drop_path=0.1", "network.drop_path", "no key 'network.drop_path'"),
    ("masks.lift=1.0", "masks.lift", "not for P-STMO"),
    ("masks.lift=-1", "masks.lift", "at least 0"),
    ("velocity_weight=1.0", "velocity_weight", "not for P-STMO, which answers for single frames"),
    ("live_weight=1.0", "live_weight", "not for P-STMO, which lifts live streams by whole windows"),
    ("freeze_batch_norm=true", "freeze_batch_norm", "name one in 'init_from'"),
    ("data.rare=2.0", "data.rare", "at most 1"),
    ("data.shares.CMU=0", "data.shares.CMU", "greater than 0"),
]


@pytest.mark.parametrize(("override", "key", "says"), REFUSALS, ids=[override for override, _, _ in REFUSALS])
def test_nonsense_is_refused_in_a_sentence_that_names_the_key(override: str, key: str, says: str) -> None:
    with pytest.raises(InvalidRecipe, match=re.escape(says)) as refusal:
        load_recipe(Path("smoke"), [override])
    assert refusal.value.path == key
    assert refusal.value.message.endswith((".", "?"))
    assert "\n" not in refusal.value.message


def test_the_network_has_the_configuration_of_its_system() -> None:
    assert load_recipe(Path("mixste-243-h36m")).network == MixSTEConfig(243)
    assert load_recipe(Path("mpm-243-mocap")).network == MPMConfig(243, layers=4, mask_token=True)
    with pytest.raises(InvalidRecipe, match=r"did you mean 'network\.drop_path'"):
        load_recipe(Path("mixste-243-h36m"), ["network.drop_pat=0.2"])


def test_a_system_without_a_stage_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="no pretrain stage for MixSTE") as refusal:
        load_recipe(Path("mixste-243-h36m"), ["stage=pretrain"])
    assert refusal.value.path == "stage"


def test_a_recipe_without_a_system_is_for_pstmo() -> None:
    table = load_recipe(Path("smoke")).as_dict()
    assert table.pop("system") == "pstmo"
    del table["masks"]["lift"]
    assert recipe_from(table) == load_recipe(Path("smoke"))


def published_manifests() -> list[Path]:
    """The manifest of the shipped model, and those of its earlier versions, whose recipes must stay readable."""
    folders = (config.SHIPPED.parents[1] / "models", Path(__file__).parents[2] / "data" / "older_manifests")
    return [path.parent for folder in folders for path in sorted(folder.glob("pstmo-tiny-27/*/manifest.json"))]


def test_the_manifests_of_all_versions_of_the_shipped_model_are_checked() -> None:
    versions = [int(folder.name) for folder in published_manifests()]
    assert sorted(versions) == list(range(1, int(SHIPPED_MODEL.name) + 1))


@pytest.mark.parametrize("folder", published_manifests(), ids=lambda folder: folder.name)
def test_the_recipe_of_the_shipped_model_can_be_read(folder: Path) -> None:
    manifest = read_manifest(folder)
    recipe = recipe_from(manifest.recipe)
    assert (recipe.system, recipe.publish.name or recipe.name) == (manifest.system, manifest.name)
    assert recipe.network == configure(manifest.system, manifest.network)


def test_a_missing_key_is_named() -> None:
    table = load_recipe(Path("smoke")).as_dict()
    del table["optimiser"]["learning_rate"]
    with pytest.raises(InvalidRecipe, match=r"lacks the key 'optimiser\.learning_rate'"):
        recipe_from(table)


def test_a_network_without_mask_token_learns_from_views_without_gaps_or_in_stage_one() -> None:
    assert not load_recipe(Path("smoke"), ["network.mask_token=false", "data.views.noise=false"]).network.mask_token
    assert not load_recipe(Path("smoke-pretrain"), ["network.mask_token=false"]).network.mask_token


@pytest.mark.parametrize("key", ["gaps", "missing_limb"])
def test_a_network_without_mask_token_is_refused_with_other_joints_left_out(key: str) -> None:
    overrides = ["network.mask_token=false", "data.views.noise=false", f"data.views.{key}=0.1"]
    with pytest.raises(InvalidRecipe, match=f"with 'data.views.{key}'"):
        load_recipe(Path("smoke"), overrides)


@pytest.mark.parametrize(
    "override", ["data.shares={ CMU = 1.0 }", "data.rare=0.2", "data.views.gaps=0.1", "data.views.body_scale=0.0"]
)
def test_what_fixed_cameras_do_not_do_is_refused_with_them(override: str) -> None:
    plain = ["data.cameras=2", "data.views={}", "data.shares={}"]
    load_recipe(Path("smoke"), [*plain, "data.views.swaps=0.1", "data.views.roll_spread_deg=3.0"])
    with pytest.raises(InvalidRecipe, match=r"does not go with 'data\.cameras'") as refusal:
        load_recipe(Path("smoke"), [*plain, override])
    assert refusal.value.path == override.partition("=")[0]


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        (["network.known=true", "data.views.known=0.0"], "network.known"),
        (["network.known=true", "data.views={}", "data.cameras=1"], "network.known"),
        (["network.gravity=true", "data.views={}", "data.cameras=1"], "network.gravity"),
        (["network.gravity=true", "data={ kind = 'h36m', root = 'data/h36m' }"], "network.gravity"),
    ],
)
def test_a_network_is_not_to_learn_what_its_data_does_not_tell(overrides: list[str], path: str) -> None:
    with pytest.raises(InvalidRecipe, match="needs motion capture") as refusal:
        load_recipe(Path("smoke"), ["system=pstmo-sequence", *overrides])
    assert refusal.value.path == path


def test_stage_one_needs_two_windows_per_device() -> None:
    with pytest.raises(InvalidRecipe, match="at least 2") as refusal:
        load_recipe(Path("smoke-pretrain"), ["batch_size=2", "devices=2"])
    assert refusal.value.path == "batch_size"


def test_init_from_is_for_finetuning() -> None:
    with pytest.raises(InvalidRecipe, match="finetune"):
        load_recipe(Path("smoke-pretrain"), ["init_from=runs/other"])


@pytest.mark.parametrize("override", ["steps", "=3", "a..b=3"])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(InvalidRecipe, match="looks like"):
        load_recipe(Path("smoke"), [override])


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(InvalidRecipe, match=r"broken\.toml is not a TOML file"):
        load_recipe(broken)
    with pytest.raises(InvalidRecipe, match=r"shipped ones are .*smoke"):
        load_recipe(tmp_path / "absent.toml")
