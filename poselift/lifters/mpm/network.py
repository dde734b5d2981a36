"""The lifter of MPM: the function of P-STMO's lifter with other dropout."""

from dataclasses import dataclass

from poselift.errors import InvalidArtifact
from poselift.lifters.costs import Count
from poselift.lifters.pstmo import network as pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig


@dataclass(frozen=True)
class MPMConfig(STMOConfig):
    """Sizes of the networks, as `STMOConfig`.

    Attributes:
        frame_dropout: dropout rate of the per-frame network while learning to lift; everywhere else it is `dropout`.
    Raises:
        InvalidArtifact: a size that no network can have.
    """

    frame_dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        rate: object = self.frame_dropout  # manifests are not type-checked
        if not isinstance(rate, float | int) or not 0 <= rate < 1:
            raise InvalidArtifact(f"frame_dropout must lie in [0, 1), not {rate!r}.", path="network.frame_dropout")


class MPM(STMO):
    """The lifter of MPM."""

    def __init__(self, config: MPMConfig) -> None:
        super().__init__(config)
        self.embedding.encoder.dropout.p = config.frame_dropout


def flops(config: MPMConfig) -> Count:
    """Count the operations for one window; as for P-STMO, which computes the same function."""
    return pstmo.flops(config)
