"""The networks that turn windows of 2D frames into 3D poses, behind one interface."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from poselift.errors import InvalidArtifact
from poselift.lifters.blocks import Poses
from poselift.lifters.pstmo import STMO, STMOConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Lifter", "Poses", "build", "configure"]


class Lifter(Protocol):
    """A network over windows of frames.

    In eval mode `embed` sees one frame at a time, so overlapping windows of a sequence may share its results:
    `lifter(frames[index])` equals `lifter.aggregate(lifter.embed(frames)[index])`.
    """

    @property
    def config(self) -> "DataclassInstance":
        """All that is needed to build the same network again, as plain numbers."""

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""

    def embed(self, frames: Tensor) -> Tensor:
        """Turn frames into features: screen coordinates [..., J, 2] -> [..., C].

        A missing joint is NaN, if the lifter was trained for missing joints.
        """

    def aggregate(self, embedded: Tensor) -> Poses:
        """Turn features of whole windows, [B, N, C], into poses."""

    def __call__(self, windows: Tensor) -> Poses:
        """Lift windows of screen coordinates, [B, N, J, 2]."""

    def for_inference(self) -> "Lifter":
        """The same network in its fastest form: eval only, on the same device, outputs within 2e-5."""


def build(system: str, network: Mapping[str, Any]) -> STMO:
    """Build a lifter with fresh weights from what a manifest says of it.

    Raises:
        InvalidArtifact: as `configure`.
    """
    return STMO(configure(system, network))


def configure(system: str, network: Mapping[str, Any]) -> STMOConfig:
    """Check what a manifest says of a lifter.

    Args:
        system: "pstmo".
        network: the fields of the system's config; fields that are left out take their defaults.
    Raises:
        InvalidArtifact: unknown system, unknown field, or sizes no network can have.
    """
    if system != "pstmo":
        raise InvalidArtifact(f"The lifter system {system!r} is not known; it must be 'pstmo'.", path="system")
    unknown = sorted(set(network) - set(STMOConfig.__dataclass_fields__))
    if unknown:
        raise InvalidArtifact(f"A P-STMO network has no setting {unknown[0]!r}.", path=f"network.{unknown[0]}")
    if "frames" not in network:
        raise InvalidArtifact("A P-STMO network needs the setting 'frames'.", path="network.frames")
    return STMOConfig(**network)
