"""Small networks of P-STMO from sequence to sequence."""

from typing import Any

from poselift.lifters.pstmo.sequence import SequenceSTMO, SequenceSTMOConfig


def small(frames: int = 9, **settings: Any) -> SequenceSTMOConfig:
    return SequenceSTMOConfig(frames, **{"channels": 32, "hidden": 48, "layers": 2, **settings})


def trained_like(config: SequenceSTMOConfig) -> SequenceSTMO:
    """A lifter whose layers, biases, norms and statistics are not those of a fresh one."""
    lifter = SequenceSTMO(config)
    for name, tensor in lifter.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
        elif name.startswith("temporal."):
            tensor.normal_(std=0.3)
    return lifter.eval()
