"""The samples of a live window, in the order of how long a network needs them.

Half of the samples before the target lie as close as those of a clip. The others lie four times as far apart, because
who somebody is and where they face shows in seconds of the past, not in each frame of them.

A live frame needs one pose, that of its target. So the last layer of a network computes the target alone, and each
layer before it more of the samples around it, up to half of the window: those near the target and a part, spread
evenly, of the others. The first layer sees all samples. In the order of this module, a layer computes the first ones.

It is for networks that tell samples apart by their distances in time alone.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Samples up to this fraction of a window away from the target are all computed in the first layers.
_NEAR_FRACTION = 1 / 8


# Distance of the samples of the farther past from one another.
_FAR_APART = 4


@cache
def live_distances(samples: int) -> NDArray[np.int64]:
    """The samples of a window, the most needed first.

    Args:
        samples: samples of a window, N.
    Returns:
        [N // 2 + 1, N] distances from the target in samples, negative before it; row `a` is for a target with `a`
        samples after it in its window. The first distance is 0, the target itself.
    """
    near = max(1, samples // 2)
    past = np.concatenate([np.arange(near), near - 1 + _FAR_APART * np.arange(1, samples - near + 1)])
    return np.array(
        [
            _ordered(np.concatenate([-past[samples - ahead - 1 :: -1], np.arange(1, ahead + 1)]))
            for ahead in range(samples // 2 + 1)
        ]
    )


def live_reach(samples: int) -> int:
    """How far before its target the first sample of a live window lies, in samples: 68 of a window of 27."""
    return int(-live_distances(samples).min())


def computed_samples(samples: int, layers: int) -> tuple[int, ...]:
    """How many of the samples of a live window each layer computes: 13, 13, 7, 4, 2 and 1 of 27 in six layers."""
    shares = [left / max(1, layers - 1) for left in reversed(range(layers))]
    return tuple(min(round(samples**share), max(1, samples // 2)) for share in shares)


def _ordered(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort distances: first the half that is computed, from near to far, then the others."""
    by_size = distances[np.argsort(np.abs(distances), kind="stable")]
    near = int((np.abs(by_size) <= _NEAR_FRACTION * len(distances)).sum())
    others = len(distances) - near
    spread = max(1, len(distances) // 2) - near
    is_computed = np.arange(len(distances)) < near
    if spread > 0:
        is_computed[near + np.rint(np.linspace(others / spread - 1, others - 1, spread)).astype(int)] = True
    return np.concatenate([by_size[is_computed], by_size[~is_computed]])
