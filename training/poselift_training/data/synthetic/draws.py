"""Random numbers on a device, as cameras and detectors need them."""

import numpy as np
import torch


def uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Draw evenly from [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=device)


def last_step(frames: int, step: float) -> int:
    """Whole part of the last of `torch.arange(frames) * step`, rounded as tensors do, without waiting for a device."""
    return int(np.float32(frames - 1) * np.float32(step))


def smooth_noise(
    shape: tuple[int, int, int, int], dt_s: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Draw noise of unit variance that changes over a quarter of a second: knots, interpolated at the frames.

    Args:
        shape: [B, T, J, channels].
        dt_s: time between two frames.
    """
    windows, frames, *rest = shape
    position = torch.arange(frames, device=device) * (dt_s / 0.25)
    lower = position.long()
    weight = (position - lower)[:, None, None]
    knots = torch.randn((windows, last_step(frames, dt_s / 0.25) + 2, *rest), generator=generator, device=device)
    mixed = (1 - weight) * knots[:, lower] + weight * knots[:, lower + 1]
    return mixed / ((1 - weight) ** 2 + weight**2).sqrt()
