"""MPM's lifter."""

from dataclasses import dataclass

from poselift.errors import InvalidArtifact
from poselift.lifters.costs import Count
from poselift.lifters.pstmo import network as pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig


@dataclass(frozen=True)
class MPMConfig(STMOConfig):
    """Sizes of the networks, as in P-STMO.

    Attributes:
        frame_dropout: share dropped in the per-frame network while learning to lift; elsewhere it is `dropout`.
    Raises:
        InvalidArtifact: a size no network can have.
    """

    frame_dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        share: object = self.frame_dropout  # a manifest may hold anything
        if not isinstance(share, float | int) or not 0 <= share < 1:
            raise InvalidArtifact(f"frame_dropout must lie in [0, 1), not {share!r}.", path="network.frame_dropout")


class MPM(STMO):
    """The lifter of MPM."""

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config)
        self.embedding.encoder.dropout.p = config.frame_dropout


def flops(config: MPMConfig) -> Count:
    """Operations for one window, as `pstmo.flops`: the function is the same."""
    return pstmo.flops(config)
