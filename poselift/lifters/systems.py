"""The kinds of networks (systems), and how one is built from the fields of a manifest."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from poselift.errors import InvalidArtifact
from poselift.lifters import costs
from poselift.lifters.costs import Cost, Count, ServedCost
from poselift.lifters.lifter import Lifter, LifterConfig, Poses, Task
from poselift.lifters.mixste import loss as mixste_loss
from poselift.lifters.mixste import network as mixste
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.mpm import completion as mpm_completion
from poselift.lifters.mpm import network as mpm
from poselift.lifters.mpm.completion import MPMCompletion, MPMCompletionConfig
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pretraining import MaskedPoseSpace
from poselift.lifters.pstmo import losses as pstmo_losses
from poselift.lifters.pstmo import network as pstmo
from poselift.lifters.pstmo import sequence as pstmo_sequence
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.pretraining import MaskedPoseModel
from poselift.lifters.pstmo.sequence import SequenceSTMO, SequenceSTMOConfig
from poselift.lifters.pstmo.sequence_pretraining import MaskedSequenceModel
from poselift.lifters.pstmo.sequence_start import start_from
from poselift.skeletons import Skeleton


def _keypoints_unchanged(windows: Tensor, _joints: Tensor, _skeleton: Skeleton, _generator: torch.Generator) -> Tensor:
    return windows


def _all_of(_config: LifterConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(state)


@dataclass(frozen=True)
class System:
    """One kind of network.

    Attributes:
        title: its name in messages.
        config: the class of its configuration, created from the fields of a manifest.
        network: the class of its network, created from a configuration.
        flops: operations for one window of the network of a configuration.
        task: what the network does.
        loss: the training loss, a scalar, of the network's output in training mode and the true joints [B, N, J, 3] of
            the windows in a skeleton. None for a network that is not trained here.
        network_input: the network's input in training, made from windows [B, N, J, 2] and their joints [B, N, J, 3] in
            a skeleton; random numbers come from the generator, on the CPU.
        target_flops: operations for the target of a live window alone; None for a network that is no `TargetLifter`.
        start_from: the initial weights of the network of a configuration, out of those of an earlier run or artifact.
        masked: the class of the network that pretrains its encoder, created from the lifter's configuration.
    """

    title: str
    config: type[Any]
    network: Callable[[Any], Lifter]
    flops: Callable[[Any], Count]
    task: Task = Task.LIFT
    loss: Callable[[Poses, Tensor, Skeleton], Tensor] | None = None
    network_input: Callable[[Tensor, Tensor, Skeleton, torch.Generator], Tensor] = _keypoints_unchanged
    masked: type[Any] | None = None
    target_flops: Callable[[Any], int] | None = None
    start_from: Callable[[Any, Mapping[str, Tensor]], dict[str, Tensor]] = _all_of


SYSTEMS: Mapping[str, System] = {
    "pstmo": System("P-STMO", STMOConfig, STMO, pstmo.flops, loss=pstmo_losses.training_loss, masked=MaskedPoseModel),
    "mixste": System("MixSTE", MixSTEConfig, MixSTE, mixste.flops, loss=mixste_loss.training_loss),
    "mpm": System("MPM", MPMConfig, MPM, mpm.flops, loss=pstmo_losses.training_loss, masked=MaskedPoseSpace),
    "mpm-completion": System(
        "MPM completion",
        MPMCompletionConfig,
        MPMCompletion,
        mpm_completion.flops,
        task=Task.COMPLETE,
        loss=mpm_completion.training_loss,
        network_input=mpm_completion.hide_joints,
    ),
    "pstmo-sequence": System(
        "P-STMO from sequence to sequence",
        SequenceSTMOConfig,
        SequenceSTMO,
        pstmo_sequence.flops,
        loss=pstmo_losses.sequence_loss,
        masked=MaskedSequenceModel,
        target_flops=pstmo_sequence.target_flops,
        start_from=start_from,
    ),
}


def build(system: str, network: Mapping[str, Any]) -> Lifter:
    """Build a network with new weights from the fields of a manifest.

    Raises:
        InvalidArtifact: as `configure`.
    """
    config = configure(system, network)
    return SYSTEMS[system].network(config)


def configure(system: str, network: Mapping[str, Any]) -> LifterConfig:
    """Check the fields of a manifest that describe a network.

    Args:
        system: a key of `SYSTEMS`.
        network: the fields of the system's configuration; missing fields take their defaults.
    Raises:
        InvalidArtifact: an unknown system, an unknown field, or sizes that no network can have.
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


def outline(system: str, config: LifterConfig) -> nn.Module:
    """A network whose tensors have a shape and no content, so that it takes no memory of their size."""
    with torch.device("meta"):
        return cast(nn.Module, SYSTEMS[system].network(config))


def cost(system: str, config: LifterConfig) -> Cost:
    """The parameters and operations of a network, without allocating it."""
    return Cost(costs.parameters(outline(system, config)), SYSTEMS[system].flops(config))


def served_cost(system: str, config: LifterConfig) -> ServedCost:
    """The operations of a network for a pose, as it is served."""
    window, target_flops = SYSTEMS[system].flops(config).full, SYSTEMS[system].target_flops
    return ServedCost(
        window // max(1, config.frames // 2) if config.sequence_to_sequence else window,
        window if target_flops is None else target_flops(config),
    )
