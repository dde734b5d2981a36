"""The networks that turn windows of 2D frames into 3D poses, behind one interface."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters import costs, mixste, mpm, mpm_completion, pstmo
from poselift.lifters.blocks import Poses
from poselift.lifters.costs import Cost, Count
from poselift.lifters.mixste import MixSTE, MixSTEConfig
from poselift.lifters.mpm import MPM, MPMConfig
from poselift.lifters.mpm_completion import MPMCompletion, MPMCompletionConfig
from poselift.lifters.pstmo import STMO, STMOConfig

__all__ = ["SYSTEMS", "Lifter", "LifterConfig", "Poses", "Task", "build", "configure", "cost"]


class Task(StrEnum):
    """What a system makes of windows of frames."""

    LIFT = "lift"
    """Poses in 3D, of keypoints in screen coordinates."""
    COMPLETE = "complete"
    """Whole poses in 3D, of root-relative poses with missing joints."""

    @property
    def done(self) -> str:
        """What a model of this kind does, in words."""
        return "lifts keypoints" if self is Task.LIFT else "completes 3D poses"

    @property
    def dimensions(self) -> int:
        """Coordinates of a joint that the network takes."""
        return 2 if self is Task.LIFT else 3


class LifterConfig(Protocol):
    """All that is needed to build a network again: a frozen dataclass of plain numbers.

    Attributes:
        sequence_to_sequence: whether the network answers with a pose for every frame of a window (`Poses.frames`), or
            with that of its middle frame alone (`Poses.centre`).
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    sequence_to_sequence: ClassVar[bool]

    @property
    def frames(self) -> int:
        """Frames per window, N."""

    @property
    def joints_in(self) -> int:
        """Joints of a frame."""

    @property
    def joints_out(self) -> int:
        """Joints of a 3D pose."""

    @property
    def mask_token(self) -> bool:
        """Whether joints may be missing (NaN)."""


class Lifter(Protocol):
    """A network over windows of frames.

    In eval mode `embed` sees one frame at a time, so overlapping windows of a sequence may share its results:
    `lifter(frames[index])` equals `lifter.aggregate(lifter.embed(frames)[index])`.
    """

    @property
    def config(self) -> LifterConfig:
        """All that is needed to build the same network again."""

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""

    def embed(self, frames: Tensor) -> Tensor:
        """Turn frames into features: screen coordinates [..., J, 2] (or poses [..., J, 3]) -> [..., C].

        A missing joint is NaN, if the lifter was trained for missing joints.
        """

    def aggregate(self, embedded: Tensor) -> Poses:
        """Turn features of whole windows, [B, N, C], into poses."""

    def __call__(self, windows: Tensor) -> Poses:
        """Lift windows of screen coordinates, [B, N, J, 2] (or complete poses, [B, N, J, 3])."""

    def for_inference(self) -> "Lifter":
        """The same network in its fastest form: eval only, on the same device, outputs within 2e-5."""


@dataclass(frozen=True)
class System:
    """One kind of lifter.

    Attributes:
        title: its name in sentences.
        config: the class of its config, made from the fields of a manifest.
        network: the class of its network, made from a config.
        flops: operations of the network of a config, for one window.
        task: what it does.
    """

    title: str
    config: type[Any]
    network: Callable[[Any], Lifter]
    flops: Callable[[Any], Count]
    task: Task = Task.LIFT


SYSTEMS: Mapping[str, System] = {
    "pstmo": System("P-STMO", STMOConfig, STMO, pstmo.flops),
    "mixste": System("MixSTE", MixSTEConfig, MixSTE, mixste.flops),
    "mpm": System("MPM", MPMConfig, MPM, mpm.flops),
    "mpm-completion": System(
        "MPM completion", MPMCompletionConfig, MPMCompletion, mpm_completion.flops, task=Task.COMPLETE
    ),
}


def build(system: str, network: Mapping[str, Any]) -> Lifter:
    """Build a lifter with fresh weights from what a manifest says of it.

    Raises:
        InvalidArtifact: as `configure`.
    """
    config = configure(system, network)
    return SYSTEMS[system].network(config)


def configure(system: str, network: Mapping[str, Any]) -> LifterConfig:
    """Check what a manifest says of a lifter.

    Args:
        system: a key of `SYSTEMS`.
        network: the fields of the system's config; fields that are left out take their defaults.
    Raises:
        InvalidArtifact: unknown system, unknown field, or sizes no network can have.
    """
    if system not in SYSTEMS:
        known = ", ".join(map(repr, SYSTEMS))
        raise InvalidArtifact(f"The lifter system {system!r} is not known; known are {known}.", path="system")
    title, config = SYSTEMS[system].title, SYSTEMS[system].config
    fields = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted(set(network) - fields):
        raise InvalidArtifact(f"A {title} network has no setting {unknown[0]!r}.", path=f"network.{unknown[0]}")
    if "frames" not in network:
        raise InvalidArtifact(f"A {title} network needs the setting 'frames'.", path="network.frames")
    configured: LifterConfig = config(**network)
    return configured


def cost(system: str, config: LifterConfig) -> Cost:
    """What a network costs, without building it."""
    with torch.device("meta"):
        network = SYSTEMS[system].network(config)
    return Cost(costs.parameters(cast(nn.Module, network)), SYSTEMS[system].flops(config))
