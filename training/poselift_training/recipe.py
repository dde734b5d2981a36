"""Training recipes: TOML files, read into validated and frozen dataclasses.

A recipe determines the result of a run. It is copied whole into the checkpoint and into the manifest of the artifact,
so that the run can be repeated.
"""

import dataclasses
import difflib
import json
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from poselift.errors import InvalidRecipe, PoseliftError
from poselift.lifters.lifter import LifterConfig
from poselift.lifters.systems import SYSTEMS
from poselift.skeletons import SKELETONS
from poselift.validation import first_finding
from poselift_training.data.synthetic.views import OF_WINDOWS, Views
from poselift_training.optimiser_config import OptimiserConfig
from poselift_training.recipe_values import Count, Fraction, Name, Positive, Splits, Text, Texts


@dataclass(frozen=True)
class MocapData:
    """Motion capture, seen by random virtual cameras (`poselift_training.data.synthetic`)."""

    kind: Literal["mocap"]
    root: Text
    also: tuple[Text, ...] = ()
    """More folders of the same format; their licences are listed in the manifest, too."""
    stride: Count = 1
    """Frames of the 50 Hz recording between two window frames."""
    splits: Splits = ("train",)
    validation_splits: Splits = ("val",)
    shares: dict[Text, Positive] = field(default_factory=dict)
    """Share of each source in the training windows, in any unit; others are sampled like the smallest. Empty:
    `SOURCE_SHARES`."""
    rare: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Oversampling of rare poses: one that is half as frequent is drawn 2 ** rare times as often."""
    held_out: tuple[Text, ...] = ()
    """Subjects, of any split, that are neither trained on nor validated with; they are scored by themselves."""
    views: Views = field(default_factory=Views)
    cameras: Count | None = None
    """Number of fixed cameras that see each recording, as in the data sets of the papers, whose only augmentation is
    mirroring; None: every window has a new random view."""


@dataclass(frozen=True)
class H36MData:
    """Human3.6M as the npz files of VideoPose3D."""

    kind: Literal["h36m"]
    root: Text
    keypoints: Text = "cpn_ft_h36m_dbb"
    """The detections to read: `data_2d_h36m_<keypoints>.npz`."""
    stride: Count = 1
    subjects: Texts = ("S1", "S5", "S6", "S7", "S8")
    validation_subjects: Texts = ("S9", "S11")


@dataclass(frozen=True)
class MpiInf3dhpData:
    """MPI-INF-3DHP as the two npz files of P-STMO."""

    kind: Literal["3dhp"]
    root: Text
    stride: Count = 1
    frame_rate_hz: Positive = 25.0
    """Frame rate for the manifest: the recordings mix 25 and 50 fps, which the official training ignores."""


Data = Annotated[MocapData | H36MData | MpiInf3dhpData, Field(discriminator="kind")]


@dataclass(frozen=True)
class Masks:
    """What stage I masks in every step."""

    temporal_rate: Fraction = 0.8
    """Share of the frames that are masked."""
    joints: Annotated[int, Field(ge=0)] = 2
    """Number of joints that are masked in each frame."""
    lift: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss of lifting the masked windows, in addition to that of reconstructing them, for networks that
    do both."""


@dataclass(frozen=True)
class Merge:
    """Averaging of the trained weights with earlier ones after training, which keeps more of what these know."""

    start: Text
    """The earlier weights: a run folder or a published artifact, as for `init_from`."""
    share: Fraction
    """Share of the earlier weights in those that are published."""


@dataclass(frozen=True)
class DataSource:
    """A data set that the lifter was trained on, and its terms."""

    source: Text
    licence: Text


@dataclass(frozen=True)
class Publication:
    """Where the finished lifter is published, and further contents of its manifest."""

    repository: Text = "models"
    name: Name | None = None
    """The artifact's name; None: that of the recipe."""
    input_skeleton: Text = "h36m17"
    output_skeleton: Text = "h36m17"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    smoothed: bool = False
    """Whether the server smooths the samples of windows: each is the mean of three neighbouring frames. Sequence-to-
    sequence networks are trained so, too, on views of motion capture; others, and the calibration of expected errors,
    take single frames."""
    data: tuple[DataSource, ...] = ()
    attribution: str = ""


Network = TypeVar("Network", bound=LifterConfig, default=LifterConfig)


@dataclass(frozen=True)
class Recipe(Generic[Network]):
    """One training run: masked pose modelling (stage I, "pretrain") or lifting (stage II, "finetune").

    Raises:
        InvalidRecipe: keys contradict each other; the error names one of them.
    """

    # Pydantic applies this to the nested dataclasses, too.
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Name
    stage: Literal["pretrain", "finetune"]
    network: Network
    """The configuration of the system's network."""
    data: Data
    optimiser: OptimiserConfig
    batch_size: Count
    """Windows per step, summed over all devices."""
    system: str = "pstmo"
    """The kind of network: a key of `poselift.lifters.systems.SYSTEMS`."""
    steps: Count | None = None
    epochs: Count | None = None
    """The length of the run: exactly one of the two."""
    seed: Annotated[int, Field(ge=0, lt=10_000)] = 1
    init_from: Text | None = None
    """Initial weights of stage II: the run folder of a stage I (or II) run, or a published artifact."""
    masks: Masks = field(default_factory=Masks)
    bone_length_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean error of bone lengths, which is added to the system's loss in stage II."""
    velocity_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean error of joint displacements from one frame of a window to the next, which is added to the
    loss in stage II; only for networks that return a pose for every frame."""
    live_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss of single frames of live streams, which is added to that of whole windows in stage II; only
    for networks that can answer for a frame alone."""
    freeze_batch_norm: bool = False
    """Whether BatchNorm keeps the statistics that it starts from in stage II, and applies them in training, too. Those
    of single batches are noise that a trained network has to bear; one that starts from nothing needs them."""
    merge: Merge | None = None
    """Weights to average the trained ones with in stage II; None: none."""
    publish: Publication = field(default_factory=Publication)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16-mixed on a CUDA device, 32-true elsewhere; a resumed run keeps its precision."""
    compile: bool = False
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Count = 1
    num_nodes: Count = 1
    runs: Text = "runs"
    log_every_steps: Count = 10
    """Steps between reading losses from the device; stops, NaN and due checkpoints are noticed at these steps."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 120.0
    validate_every_steps: Count = 1000
    validation_batches: Count = 8

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise InvalidRecipe("The recipe needs exactly one of 'steps' and 'epochs'.", path="steps")
        for key, joints in (("input_skeleton", self.network.joints_in), ("output_skeleton", self.network.joints_out)):
            self._check_skeleton(f"publish.{key}", getattr(self.publish, key), joints)
        self._check_root()
        self._check_mask_token()
        self._check_fixed_cameras()
        self._check_known()
        self._check_system()
        if self.masks.joints >= self.network.joints_in:
            raise InvalidRecipe(
                f"'masks.joints' must be below the network's {self.network.joints_in} joints, got {self.masks.joints}.",
                path="masks.joints",
            )
        if self.stage == "pretrain" and self.init_from is not None:
            raise InvalidRecipe(
                "'init_from' belongs to the finetune stage; a pretrain run starts from random weights.",
                path="init_from",
            )

    def _check_skeleton(self, key: str, name: str, joints: int) -> None:
        """Check the skeleton before training, since it is needed only at publication."""
        if name not in SKELETONS or SKELETONS[name].n_joints != joints:
            fitting = ", ".join(other for other, skeleton in SKELETONS.items() if skeleton.n_joints == joints)
            raise InvalidRecipe(
                f"'{key}' must be a skeleton of {joints} joints ({fitting or 'there is none'}), got '{name}'.", path=key
            )

    def _check_root(self) -> None:
        name = self.publish.output_skeleton
        if SKELETONS[name].root is None:
            raise InvalidRecipe(
                f"'publish.output_skeleton' must be a skeleton with a root, and '{name}' has none.",
                path="publish.output_skeleton",
            )

    def _check_mask_token(self) -> None:
        if self.network.mask_token or self.stage != "finetune" or not isinstance(self.data, MocapData):
            return
        views = self.data.views
        reasons = {"noise": views.noise, "gaps": views.gaps, "missing_limb": views.missing_limb}
        reason = next((name for name, value in reasons.items() if value), None)
        if reason is not None and self.data.cameras is None:
            raise InvalidRecipe(
                f"'network.mask_token' must be true with 'data.views.{reason}': that leaves joints out, and a network "
                "without the token cannot handle missing joints.",
                path="network.mask_token",
            )

    def _check_fixed_cameras(self) -> None:
        data = self.data
        if not isinstance(data, MocapData) or data.cameras is None:
            return
        usual = Views()
        unused = [f"data.{key}" for key in ("shares", "rare") if getattr(data, key)]
        unused += [f"data.views.{key}" for key in OF_WINDOWS if getattr(data.views, key) != getattr(usual, key)]
        if unused:
            raise InvalidRecipe(
                f"'{unused[0]}' does not go with 'data.cameras', which see every recording as it is: leave one of them "
                "out.",
                path=unused[0],
            )

    def _check_known(self) -> None:
        """Refuse networks that take or find what their windows never tell them."""
        if self.stage != "finetune":
            return
        views = self.data.views if isinstance(self.data, MocapData) and self.data.cameras is None else None
        if getattr(self.network, "gravity", False) and views is None:
            raise InvalidRecipe(
                "'network.gravity' needs motion capture without 'data.cameras': other windows do not say which way is "
                "down.",
                path="network.gravity",
            )
        if getattr(self.network, "known", False) and not (views and views.known):
            raise InvalidRecipe(
                "'network.known' needs motion capture without 'data.cameras', and 'data.views.known' above 0: no other "
                "windows tell what is known.",
                path="network.known",
            )

    def _check_system(self) -> None:
        system = SYSTEMS[self.system]
        if self.velocity_weight and not self.network.sequence_to_sequence:
            raise InvalidRecipe(
                f"'velocity_weight' is not for {system.title}, which answers for single frames.",
                path="velocity_weight",
            )
        if self.live_weight and not self.network.lifts_targets:
            raise InvalidRecipe(
                f"'live_weight' is not for {system.title}, which lifts live streams by whole windows.",
                path="live_weight",
            )
        if (system.masked if self.stage == "pretrain" else system.loss) is None:
            raise InvalidRecipe(
                f"There is no {self.stage} stage for {system.title}: take the other stage, or another 'system'.",
                path="stage",
            )
        if self.freeze_batch_norm and self.init_from is None:
            raise InvalidRecipe(
                "'freeze_batch_norm' needs the statistics of a trained network: name one in 'init_from'.",
                path="freeze_batch_norm",
            )
        if self.stage == "pretrain" and self.batch_size < 2 * self.devices * self.num_nodes:
            raise InvalidRecipe("'batch_size' must be at least 2 for each device in stage I.", path="batch_size")
        if self.masks.lift and not (system.masked and system.masked.lifts):
            raise InvalidRecipe(
                f"'masks.lift' is not for {system.title}, which does not lift in stage I.", path="masks.lift"
            )

    @property
    def folder(self) -> Path:
        """The run folder: checkpoint, loss log and TensorBoard events."""
        return Path(self.runs) / self.name

    def as_dict(self) -> dict[str, Any]:
        """The recipe as values of JSON and TOML; keys that are None are left out. Inverse: `recipe_from`."""
        table: dict[str, Any] = json.loads(_adapter(self.system).dump_json(self, exclude_none=True))
        return table


# How tomllib ends its sentences.
_PLACE = re.compile(r"\(at (.+)\)")
# The `kind` of every union member above.
_UNION_TAGS = frozenset("mocap h36m 3dhp exponential cosine".split())


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a TOML file and apply overrides.

    Args:
        path: the file, or the name of a shipped recipe.
        overrides: `key.sub=value`; a value that is not valid TOML (`data.root=/mnt/h36m`) counts as a string.
    Raises:
        InvalidRecipe: the file does not exist or is not TOML, a key is unknown or a value invalid; the message names
            the key.
    """
    path = _find(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InvalidRecipe(f"{path} is not a TOML file: it is no text in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        raise InvalidRecipe(f"{path} is not a TOML file{f' from {place[1]} on' if place else ''}.") from None
    for override in overrides:
        _apply_override(table, override)
    return recipe_from(table)


def recipe_from(table: dict[str, Any]) -> Recipe:
    """Validate a table of keys and values.

    Raises:
        InvalidRecipe: naming the first key at fault.
    """
    system = table.get("system", Recipe.system)
    if not isinstance(system, str) or system not in SYSTEMS:
        known = ", ".join(map(repr, SYSTEMS))
        raise InvalidRecipe(f"'system' must be one of {known}, got {system!r}.", path="system")
    try:
        # In strict mode only JSON input accepts lists for tuples and tables for dataclasses, but not "5" for 5.
        recipe: Recipe = _adapter(system).validate_json(json.dumps(table, default=str), strict=True)
        return recipe
    except ValidationError as error:
        raise _explain_invalid(error, system) from error
    except InvalidRecipe:
        raise
    except PoseliftError as error:  # a nested config rejected its own values
        raise InvalidRecipe(error.message, path=error.path) from error


def _adapter(system: str) -> TypeAdapter[Any]:
    """Validator of recipes with the network configuration of a system."""
    recipe: Any = Recipe
    return TypeAdapter(recipe[SYSTEMS[system].config])


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables to one with dotted keys, such as `data.stride`."""
    keys: dict[str, Any] = {}
    for key, value in table.items():
        keys |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return keys


# Inside the package in a wheel, beside it in a checkout.
SHIPPED = next(filter(Path.is_dir, (Path(__file__).with_name("recipes"), Path(__file__).parents[1] / "recipes")))


def _find(path: Path) -> Path:
    """Find the file itself, or the shipped recipe of that name."""
    shipped = SHIPPED / f"{path.name.removesuffix('.toml')}.toml"
    for candidate in (path, path.with_suffix(".toml"), shipped):
        if candidate.is_file():
            return candidate
    names = sorted(file.stem for file in shipped.parent.glob("*.toml"))
    raise InvalidRecipe(f"There is no recipe {path}; the shipped ones are {', '.join(names)}.")


def _apply_override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InvalidRecipe(f"An override looks like key.sub=value, got '{override}'.")
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InvalidRecipe(f"The override '{override}' goes into '{part}', which holds a single value.", path=key)
    table[parts[-1]] = _toml_value(text.strip())


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain_invalid(error: ValidationError, system: str) -> InvalidRecipe:
    """Describe the first finding in one sentence that names the key."""
    finding = first_finding(error)
    # Pydantic puts the chosen member of a union into the location (`data.mocap.root`); the file has no such level.
    location = [str(part) for part in finding.location if part not in _UNION_TAGS]
    key = ".".join(location)
    if finding.kind == "unexpected_keyword_argument":
        known = _keys(location[:-1], system)
        if location[-1] in known:
            return InvalidRecipe(f"'{key}' does not go with this kind of {location[-2]}.", path=key)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = (
            f"; did you mean '{'.'.join([*location[:-1], near[0]])}'?" if near else f"; there are {', '.join(known)}."
        )
        return InvalidRecipe(f"The recipe has no key '{key}'{hint}", path=key)
    if finding.kind in ("missing", "missing_argument"):
        return InvalidRecipe(f"The recipe lacks the key '{key}'.", path=key)
    if finding.kind.startswith("union_tag"):
        key = f"{key}.kind"
    given = "" if isinstance(finding.value, dict) else f", not {finding.value!r:.60}"
    return InvalidRecipe(f"'{key}': {finding.message}{given}.", path=key)


def _keys(location: Sequence[str], system: str) -> list[str]:
    """Keys that are valid in the table at `location`, for any member of a union."""
    tables: list[Any] = [Recipe]
    for part in location:
        hints = [typing.get_type_hints(table).get(part) for table in tables]
        hints = [SYSTEMS[system].config if hint is Network else hint for hint in hints]
        tables = [
            member for hint in hints for member in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(member)
        ]
    return [field.name for table in tables for field in dataclasses.fields(table)]
