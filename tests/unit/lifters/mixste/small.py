"""Small networks."""

from typing import Any

import torch

from poselift.lifters.mixste.network import MixSTE, MixSTEConfig


def small(frames: int = 9, **settings: Any) -> MixSTEConfig:
    return MixSTEConfig(frames, channels=32, hidden=48, layers=2, **settings)


def trained_like(config: MixSTEConfig) -> MixSTE:
    """A network with random positions: they start at zero, so a new network would not show if they were ignored."""
    torch.manual_seed(1)
    lifter = MixSTE(config)
    for position in (lifter.joint_position, lifter.frame_position):
        torch.nn.init.normal_(position)
    return lifter.eval()
