"""The unit of work of an engine: consecutive windows of one sequence, over the frames they share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Slice:
    """Consecutive windows of one sequence: W windows of N frames over U unique frames of J joints.

    Attributes:
        frames: [U, J, 2] float32 screen coordinates; each frame is used by at least one window.
        index: [W, N] int64 rows of `frames`.
        ahead: [W] int64, the number of samples after each target, where a sequence-to-sequence lifter answers for
            targets alone; None: it answers as usual.
    """

    frames: NDArray[np.float32]
    index: NDArray[np.int64]
    ahead: NDArray[np.int64] | None = None

    def part(self, start: int, stop: int) -> "Slice":
        """Return some of the windows, with only the frames they use."""
        if (start, stop) == (0, len(self.index)):
            return self
        index = self.index[start:stop]
        first = index.min()
        # Marking the used rows takes a third of the time of sorting them, and live frames wait meanwhile.
        used = np.zeros(index.max() + 1 - first, dtype=np.bool_)
        used[index - first] = True
        rows = np.cumsum(used) - 1
        ahead = None if self.ahead is None else self.ahead[start:stop]
        return Slice(self.frames[first:][: len(used)][used], rows[index - first], ahead)
