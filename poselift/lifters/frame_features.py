"""The input features of a frame: person-centred coordinates, the mask token for missing joints, and what is known.

Source: P-STMO (ECCV 2022), official code at commit aea43d0, for the order of the features; person-centring is ours.
"""

import torch
from torch import Tensor

from poselift.known import KNOWN_ROWS

_CONTEXT_ROWS = 2
CONTEXT = 2 * _CONTEXT_ROWS
"""Numbers per frame that person-centring removes, and that the network receives as extra features."""

# Half a pixel in a picture of width 1000. Without it, a frame whose joints all coincide would be divided by zero.
_SMALLEST_SPREAD = 1e-3


def person_centre(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Express each frame relative to the mean position and the size of the person in it.

    Args:
        frames: [..., J, 2] screen coordinates; NaN where a joint is missing.
    Returns:
        centred: [..., J, 2], (x - mean) / spread, where mean and spread are those of the joints that are present and
            the spread is their root mean square distance to the mean; NaN stays NaN.
        context: [..., 2, 2], what was removed: the mean (x, y), then (log spread, fraction of missing joints). In a
            frame without joints, all but the fraction are zero.
    """
    missing = is_missing(frames)
    present = (~missing).sum(dim=-2, keepdim=True).to(frames.dtype)
    divisor = present.clamp_min(1)
    mean = frames.masked_fill(missing, 0).sum(dim=-2, keepdim=True) / divisor
    offsets = frames - mean
    squares = offsets.masked_fill(missing, 0).square().sum(dim=(-2, -1), keepdim=True)
    spread = (squares / divisor).sqrt().clamp_min(_SMALLEST_SPREAD)
    log_spread = spread.log().masked_fill(present == 0, 0)
    context = torch.cat((mean, torch.cat((log_spread, 1 - present / frames.shape[-2]), dim=-1)), dim=-2)
    return offsets / spread, context


def is_missing(frames: Tensor) -> Tensor:
    """Which joints of frames [..., J, D] are missing: bool [..., J, 1]."""
    return frames.isnan().any(dim=-1, keepdim=True)


def frame_features(frames: Tensor, mask_token: Tensor | None, *, person_centred: bool, known: bool = False) -> Tensor:
    """The input of the per-frame network, joint by joint: x0, y0, x1, y1, ... [..., J, 2] -> [..., 2 * J (+ 4) (+ 12)].

    Args:
        known: whether the frames end with rows of what is known, as `with_known_rows` returns them.
    """
    about = None
    if known:
        frames, about = frames[..., :-KNOWN_ROWS, :], _known_features(frames[..., -KNOWN_ROWS:, :])
    context = None
    if person_centred:
        frames, context = person_centre(frames)
    if mask_token is not None:
        frames = torch.where(is_missing(frames), mask_token, frames)
    parts = [part.flatten(-2) for part in (frames, context) if part is not None]
    return torch.cat(parts if about is None else [*parts, about], dim=-1)


def with_known_rows(frames: Tensor, joints: int) -> Tensor:
    """Frames [..., J + K, 2] as they are; rows of nothing known are added to frames [..., J, 2]."""
    if frames.shape[-2] > joints:
        return frames
    return torch.cat((frames, frames.new_full((*frames.shape[:-2], KNOWN_ROWS, 2), torch.nan)), dim=-2)


def _known_features(rows: Tensor) -> Tensor:
    """What is known, zero where it is not, and whether it is: [..., K, 2] -> [..., 3 * K]."""
    unknown = is_missing(rows)
    return torch.cat((rows.masked_fill(unknown, 0).flatten(-2), (~unknown).to(rows.dtype).flatten(-2)), dim=-1)


def n_features(joints: int, *, person_centred: bool, known: bool = False) -> int:
    """Length of the last axis of `frame_features`."""
    return 2 * (joints + (_CONTEXT_ROWS if person_centred else 0)) + (3 * KNOWN_ROWS if known else 0)
