"""What a caller might tell of the camera and the person of a training window."""

import torch

from poselift.known import KNOWN_ROWS, USUAL_STATURE_M
from poselift.lifters.constants import indices, numbers
from poselift.motion.bones import STATURE_SHARES
from poselift_training.data.synthetic.bodies import bones_of
from poselift_training.data.synthetic.views import View

# What callers tell is not exact: standard deviations of the logarithms of lengths, and of gravity's components.
_LENGTH_ERROR = 0.015
_GRAVITY_ERROR = 0.015


def draw_known_rows(view: View, probability: float, unknown: float, generator: torch.Generator) -> torch.Tensor:
    """Draw what is told of each window, rows [B, N, K, 2] as `poselift.known` describes them.

    Args:
        probability: that of each of the three facts.
        unknown: share of the windows of which nothing is told.
    """
    windows, frames, *_ = view.joints.shape
    device = view.joints.device
    told = torch.rand(windows, 3, generator=generator, device=device) < probability
    errors = torch.randn(windows, 5, generator=generator, device=device)
    falling = torch.nn.functional.normalize(_GRAVITY_ERROR * errors[:, 2:] - view.up, dim=-1)
    focal = view.focal[:, 0].log() + _LENGTH_ERROR * errors[:, 0]
    stature = (statures(view.joints[:, 0]) / USUAL_STATURE_M).log() + _LENGTH_ERROR * errors[:, 1]
    zero = torch.zeros_like(focal)
    pairs = [(zero, focal), (falling[:, 0], falling[:, 1]), (zero, falling[:, 2]), (zero, stature)]
    rows = torch.stack([torch.stack(pair, dim=-1) for pair in pairs], dim=1)
    if unknown:
        told &= torch.rand(windows, 1, generator=generator, device=device) >= unknown
    is_told = told[:, indices([0, 1, 1, 2], device)]
    rows = rows.masked_fill(~is_told[..., None], torch.nan)
    return rows[:, None].expand(windows, frames, KNOWN_ROWS, 2)


def statures(poses: torch.Tensor) -> torch.Tensor:
    """Statures [B] of people in any pose [B, 17, 3], from the lengths of their bones."""
    lengths = torch.linalg.vector_norm(bones_of(poses[:, None])[:, 0], dim=-1)
    stature: torch.Tensor = lengths @ numbers(STATURE_SHARES.tolist(), poses.device)
    return stature
