"""The networks that turn windows of 2D frames into 3D poses, behind one interface."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
from poselift.lifters.mpm import MPM, MaskedPoseSpace, MPMConfig
from poselift.lifters.mpm_completion import MPMCompletion, MPMCompletionConfig
from poselift.lifters.pstmo import STMO, MaskedPoseModel, STMOConfig
from poselift.skeletons import Skeleton

__all__ = [
    "SYSTEMS",
    "Lifter",
    "LifterConfig",
    "MaskedModel",
    "Poses",
    "System",
    "Task",
    "build",
    "configure",
    "cost",
]


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


class MaskedModel(Protocol):
    """What a lifter's encoder learns in before it learns to lift: a module that rebuilds what is hidden from it.

    Attributes:
        lifts: whether it can also learn to lift what it rebuilds.
    """

    lifts: ClassVar[bool]

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw what one training step hides, on the CPU.

        Args:
            temporal_rate: share of the frames to hide, in [0, 1).
            joints: joints to hide in each frame.
            generator: on the CPU.
        """

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """How far off the rebuilt windows are.

        Args:
            windows, clean: [B, N, J, 2] screen coordinates, as they are given and as they should come out.
            joints: [B, N, J, 3] their joints, relative to the root.
            masks: of `draw_masks`.
            lift: what lifting counts besides; 0 where the model does not lift.
        Returns:
            scalar.
        """

    def encoder_state(self) -> dict[str, Tensor]:
        """The tensors that a lifter of the same config starts with; load them with `strict=False`."""


def _keypoints(windows: Tensor, _joints: Tensor, _skeleton: Skeleton, _generator: torch.Generator) -> Tensor:
    return windows


@dataclass(frozen=True)
class System:
    """One kind of lifter.

    Attributes:
        title: its name in sentences.
        config: the class of its config, made from the fields of a manifest.
        network: the class of its network, made from a config.
        flops: operations of the network of a config, for one window.
        task: what it does.
        loss: what training minimises: the answer of the network in training mode and the joints [B, N, J, 3] of the
            windows, in a skeleton, to a scalar. None for a network that does not learn to lift.
        given: what training gives the network of windows [B, N, J, 2] and their joints [B, N, J, 3] in a skeleton; what
            is random comes from the generator, on the CPU.
        masked: the class of the network that its encoder can be pretrained in, made from the lifter's config.
    """

    title: str
    config: type[Any]
    network: Callable[[Any], Lifter]
    flops: Callable[[Any], Count]
    task: Task = Task.LIFT
    loss: Callable[[Poses, Tensor, Skeleton], Tensor] | None = None
    given: Callable[[Tensor, Tensor, Skeleton, torch.Generator], Tensor] = _keypoints
    masked: type[Any] | None = None


SYSTEMS: Mapping[str, System] = {
    "pstmo": System("P-STMO", STMOConfig, STMO, pstmo.flops, loss=pstmo.training_loss, masked=MaskedPoseModel),
    "mixste": System("MixSTE", MixSTEConfig, MixSTE, mixste.flops, loss=mixste.training_loss),
    "mpm": System("MPM", MPMConfig, MPM, mpm.flops, loss=pstmo.training_loss, masked=MaskedPoseSpace),
    "mpm-completion": System(
        "MPM completion",
        MPMCompletionConfig,
        MPMCompletion,
        mpm_completion.flops,
        task=Task.COMPLETE,
        loss=mpm_completion.training_loss,
        given=mpm_completion.hide_joints,
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
