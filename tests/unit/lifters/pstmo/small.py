"""Small networks, and tolerances."""

from typing import Any

from poselift.lifters.pstmo.network import STMO, STMOConfig

FUSED = 2e-5
"""Tolerance of the inference form: folding changes the order of rounding."""
SHARED = 2e-5
"""Products over other batch sizes may round differently."""
MISSING = float("nan")


def small(frames: int = 27, **settings: Any) -> STMOConfig:
    return STMOConfig(frames, channels=32, hidden=48, layers=2, joints_in=17, joints_out=17, **settings)


def trained_like(config: STMOConfig) -> STMO:
    """A lifter with random norms and statistics, unlike a new one."""
    lifter = STMO(config)
    for name, tensor in lifter.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return lifter.eval()
