"""Seeds of single training steps."""

import numpy as np


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of everything random in one step of one process.

    Args:
        seed: that of the whole run.
        rank: number of the process.
    Returns:
        63 bits of a hash, so that neighbouring steps and processes are independent.
    """
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
