"""Joints that a detector did not see: the one rule for them, whichever way keypoints come in, and what stands for them.

Most lifters have a token for such joints; for the others, a joint holds its last seen position.
"""

import numpy as np
from numpy.typing import NDArray

# Detectors' scores leave [0, 1] a little: peaks of heat maps lie a little below 0 or well above 1, some write -1 for a
# joint that they did not see. Percentages would pass every threshold, and are an error.
LOWEST_SCORE, HIGHEST_SCORE = -1.0, 10.0

MISSING = (np.nan, np.nan, 0.0)
"""A missing joint."""
_MISSING = np.array(MISSING, np.float32)


def mark_missing(keypoints: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mark the joints that were not detected, and clip scores to [0, 1].

    A joint is missing if one of its numbers is NaN, if its score is negative, or if it lies at exactly (0, 0) or
    (-1, -1), where detectors put what they do not find, whatever the score they give it.

    Args:
        keypoints: [..., 3] finite or NaN: x and y in any unit, score.
    Returns:
        [..., 3], x and y NaN and score 0 where a joint is missing; the same array if there was nothing to change.
    """
    # For a single live frame, a NumPy call costs more than its arithmetic: most frames need no more than these two.
    if not keypoints.size or (keypoints.min() > 0 and keypoints[..., 2].max() <= 1):
        return keypoints
    marked = keypoints.reshape(-1, 3).copy()
    x, y, score = marked.T.copy()  # one after another, which makes comparisons cheaper
    undetected = np.isnan(x + y + score) | (score < 0)
    if _any(is_diagonal := x == y):
        undetected |= is_diagonal & ((x == 0) | (x == -1))
    if _any(score > 1):
        np.minimum(score, 1, out=marked[:, 2])
    np.copyto(marked, _MISSING, where=undetected[:, None])
    return marked.reshape(keypoints.shape)


def _any(flags: NDArray[np.bool_]) -> bool:
    """As `flags.any()`, which takes several times as long for a few."""
    return b"\1" in flags.tobytes()


def hold_missing(screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace every missing joint by its last seen position, for lifters without a mask token.

    Before a joint is first seen, it is placed at the mean of the present joints (or at the centre of the picture). Only
    past frames are used, so a live stream and a finished clip get the same result.

    Args:
        screen: [F, J, 2], NaN where missing.
    """
    return fill_unseen(hold_last_seen(screen))


def hold_last_seen(screen: NDArray[np.float32], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Replace every missing joint by its last seen position; a joint that was never seen stays NaN.

    Args:
        screen: [F, J, 2], NaN where missing.
        before: [J, 2] this function's result for the frame before the first one, if there is one.
    """
    if before is not None:
        return hold_last_seen(np.concatenate([before[None], screen]))[1:]
    seen = ~np.isnan(screen[..., 0])
    last_seen = np.maximum.accumulate(np.where(seen, np.arange(len(screen))[:, None], 0), axis=0)
    return np.take_along_axis(screen, last_seen[..., None], axis=0)


def fill_unseen(screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Place joints that are NaN at the mean of the present joints of their frame, or else at the picture's centre."""
    known = ~np.isnan(screen[..., :1])
    if known.all():
        return screen
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, screen, 0).sum(axis=1, keepdims=True) / count
    return np.where(known, screen, mean).astype(np.float32)
