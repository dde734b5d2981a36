"""Parameters and operations of a network, as the papers count them and in full."""

from typing import NamedTuple

from torch import nn


class Count(NamedTuple):
    """A number of parameters or operations, counted in two ways.

    `counted` is the number that thop, the tool of the papers' authors, reports: Linear, Conv and stock norm layers
    alone. `full` includes everything: among the parameters also positions, tokens and custom layer norms; among the
    operations also the products of attention, two for each multiply-add.
    """

    counted: int
    full: int


class Cost(NamedTuple):
    """Parameters of a network, and its operations for one window."""

    parameters: Count
    flops: Count


class ServedCost(NamedTuple):
    """Operations of a network as it is served, counted in full.

    Attributes:
        clip_pose: for each pose of a long clip, whose windows overlap by half if each has poses of all its frames.
        live_frame: for each frame of a live stream.
    """

    clip_pose: int
    live_frame: int


def parameters(network: nn.Module) -> Count:
    """Count the parameters of a network, which may be on the meta device."""
    counted = [m for m in network.modules() if isinstance(m, nn.Linear | nn.BatchNorm1d | nn.LayerNorm)]
    return Count(
        counted=sum(parameter.numel() for module in counted for parameter in module.parameters()),
        full=sum(parameter.numel() for parameter in network.parameters()),
    )
