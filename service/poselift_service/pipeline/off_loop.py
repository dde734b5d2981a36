"""Long work beside the event loop, which everything else on the server waits for meanwhile."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Checking or preparing the 17 joints of so many frames takes some milliseconds.
MAX_JOINTS_ON_LOOP = 500 * 17

Done = TypeVar("Done")


async def run_off_loop_if_long(joints: int, work: Callable[..., Done], *args: object) -> Done:
    """Run work on the frames of a request, in a thread when they are many.

    Args:
        joints: of all frames together.
        args: of the work.
    """
    return work(*args) if joints <= MAX_JOINTS_ON_LOOP else await asyncio.to_thread(work, *args)


def joints_in(frames: NDArray[np.floating]) -> int:
    """The number of joints in frames [F, J, 3]."""
    return frames.size // 3
