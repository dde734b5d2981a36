"""What a recipe says of its optimiser and of the schedule of the learning rate."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from poselift_training.recipe_values import Fraction, Positive


@dataclass(frozen=True)
class Exponential:
    """The learning rate is multiplied by a constant factor after every epoch (the official schedule)."""

    kind: Literal["exponential"]
    decay_per_epoch: Annotated[float, Field(gt=0, le=1)] = 0.97


@dataclass(frozen=True)
class Cosine:
    """The learning rate rises over `warmup_steps`, then falls along half a cosine to `final_share` of its peak."""

    kind: Literal["cosine"]
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.01


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, AdamW or Muon; the defaults are the official ones."""

    learning_rate: Positive
    kind: Literal["adam", "adamw", "muon"] = "adam"
    """`muon` makes the steps of matrices inside the network orthogonal, and leaves everything else to AdamW. It learns
    more from a step, which takes a tenth longer on a CPU."""
    schedule: Annotated[Exponential | Cosine, Field(discriminator="kind")] = field(
        default_factory=lambda: Exponential("exponential")
    )
    amsgrad: bool = True
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Positive | None = None
    """Largest norm of the gradient; larger ones are scaled down to it."""
    average: Fraction = 0.0
    """Decay per step of the exponential moving average of the weights, which is validated and published; 0: the last
    weights are."""
