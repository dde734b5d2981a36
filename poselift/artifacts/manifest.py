"""The manifest of an artifact: everything needed to rebuild its network and to use it."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poselift.errors import InvalidArtifact, PoseliftError
from poselift.known import KNOWN_ROWS
from poselift.lifters import systems
from poselift.lifters.lifter import Task
from poselift.skeletons import Skeleton, skeleton

WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"


class Screen(BaseModel):
    """The picture size that pixels are normalised with; None means the size of the caller's picture."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width_px: float | None = Field(default=None, gt=0)
    height_px: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Screen":
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError("a fixed picture size needs both its width and its height")
        return self


class DataSource(BaseModel):
    """Where training data came from, and its licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    licence: str


class Manifest(BaseModel):
    """The description of a network: its sizes, input, output and origin.

    The network is rebuilt from `system` and `network` alone. Samples of a window lie `temporal_stride / frame_rate_hz`
    seconds apart; if the artifact is `smoothed`, each is the mean with the samples `1 / frame_rate_hz` seconds before
    and after it. A keypoint with a score below `score_threshold` is missing. The network's output times `unit_m` is
    metres. `missing_joints` says how a missing joint is filled: "token", the network has a learnt token for it; "hold",
    it keeps its last seen position.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: int = Field(default=0, ge=0)
    system: str
    network: dict[str, Any]
    input_skeleton: str
    output_skeleton: str
    screen: Screen = Screen()
    frame_rate_hz: float = Field(gt=0)
    temporal_stride: int = Field(ge=1)
    smoothed: bool = False
    score_threshold: float = Field(default=0.3, ge=0, le=1)
    unit_m: float = Field(default=1.0, gt=0)
    missing_joints: Literal["token", "hold"]
    recipe: dict[str, Any] = {}
    data: tuple[DataSource, ...] = ()
    attribution: str = ""
    code_revision: str = ""
    scores: tuple[dict[str, Any], ...] = ()
    weights_sha256: str = ""

    @model_validator(mode="after")
    def _skeletons_exist(self) -> "Manifest":
        try:
            skeleton(self.input_skeleton)
            target = skeleton(self.output_skeleton)
        except PoseliftError as error:
            raise ValueError(error.message) from None
        if target.root is None:
            raise ValueError(f"poses cannot be relative to the pelvis in {target.name}, which has none")
        completes = self.system in systems.SYSTEMS and self.task is Task.COMPLETE
        if completes and self.input_skeleton != self.output_skeleton:
            raise ValueError("poses are completed in the skeleton that they come in")
        return self

    @property
    def source(self) -> Skeleton:
        """The skeleton of the network's input."""
        return skeleton(self.input_skeleton)

    @property
    def target(self) -> Skeleton:
        """The skeleton of the network's output."""
        return skeleton(self.output_skeleton)

    @property
    def task(self) -> Task:
        """Whether the network lifts keypoints or completes poses."""
        return systems.SYSTEMS[self.system].task

    def require(self, task: Task) -> None:
        """Refuse a model of another task.

        Raises:
            InvalidArtifact: the network has another task.
        """
        if self.task is not task:
            raise InvalidArtifact(f"The model {self.name} {self.task.done}; here one is needed that {task.done}.")

    @property
    def sequence_to_sequence(self) -> bool:
        """Whether the network returns a pose for every frame of a window, not for its middle frame alone."""
        return bool(systems.SYSTEMS[self.system].config.sequence_to_sequence)

    @property
    def lifts_targets(self) -> bool:
        """Whether the network can answer for the target of a live window alone."""
        return bool(systems.SYSTEMS[self.system].config.lifts_targets)

    @property
    def expected_error(self) -> bool:
        """Whether the network also returns the expected error of each joint."""
        return bool(self.network.get("expected_error", False))

    @property
    def known(self) -> bool:
        """Whether the network takes what is known of camera and person, as `poselift.known` describes it."""
        return bool(self.network.get("known", False))

    @property
    def gravity(self) -> bool:
        """Whether the network also returns the direction of falling."""
        return bool(self.network.get("gravity", False))

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and coordinates of one input frame of the network: its joints, and what is known."""
        return self.source.n_joints + (KNOWN_ROWS if self.known else 0), self.task.dimensions

    @property
    def digest(self) -> str:
        """Short name of the exact weights."""
        return self.weights_sha256[:16]

    @property
    def identity(self) -> str:
        """Short name of exactly this artifact, for keys: the same weights may be published for several uses."""
        return hashlib.sha256(f"{self.name}@{self.version} {self.weights_sha256}".encode()).hexdigest()[:16]

    def to_json(self, version: int) -> bytes:
        """Write the manifest file of a version."""
        return (self.model_copy(update={"version": version}).model_dump_json(indent=2) + "\n").encode()
