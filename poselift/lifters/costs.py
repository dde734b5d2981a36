"""What a network costs, as the papers count it and in full."""

from typing import NamedTuple

from torch import nn


class Count(NamedTuple):
    """A cost, counted twice.

    `counted` is what the tool of the papers' authors (thop) sees: Linear, Conv and stock norm layers alone. `full` is
    all there is: positions, tokens and own layer norms among the parameters; the products of attention among the
    operations, two for each multiply-add.
    """

    counted: int
    full: int


class Cost(NamedTuple):
    """Parameters of a network, and its operations for one window."""

    parameters: Count
    flops: Count


def parameters(network: nn.Module) -> Count:
    """Parameters of a network, which may be laid out on the meta device."""
    counted = [m for m in network.modules() if isinstance(m, nn.Linear | nn.BatchNorm1d | nn.LayerNorm)]
    return Count(
        counted=sum(parameter.numel() for module in counted for parameter in module.parameters()),
        full=sum(parameter.numel() for parameter in network.parameters()),
    )
