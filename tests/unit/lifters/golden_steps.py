"""Tolerances and preparations of the golden tests."""

from torch import Tensor, nn

from poselift.lifters.blocks import Attention

GRADIENT = 1e-4
"""Relative to the tensor's largest entry; the official float32 gradients have rounding errors of this size."""
NO_GRADIENT = 1e-6
"""Gradients of this norm are rounding noise: softmax or batch statistics cancel their effect."""


def official_weights(vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("weights/"): value for key, value in vectors.items() if key.startswith("weights/")}


def without_dropout(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(part, Attention):
            part.dropout = 0.0
