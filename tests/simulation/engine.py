"""An engine without a network: a pose says which frames its window had, and which version lifted it."""

import asyncio
import random
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import mirror
from poselift.networks.slice import Slice
from poselift.skeletons import skeleton

SKELETON = skeleton("h36m17")
JOINTS = SKELETON.n_joints


@dataclass
class EngineFaults:
    """How an engine misbehaves.

    Attributes:
        delay_s: longest time that a batch takes.
        fail: probability that a batch fails.
        swap: probability that the answers do not have the lengths of the slices.
        shrink: probability that the engine runs out of memory and takes half as many windows from then on.
    """

    delay_s: float = 0.02
    fail: float = 0.0
    swap: float = 0.0
    shrink: float = 0.0


def mark_of(version: int, position: int) -> int:
    """What a pose is marked with: who lifted it, and the position in the window that it is for."""
    return 100 * version + position


class SimulatedEngine:
    """Answers with x and y: the first coordinates of two joints of each frame in the window, and z: a mark.

    The answer to the mirrored person, whose frames lie to the left of the picture's middle, is the mirrored answer.

    Attributes:
        answers_whole: whether it answers with a pose for each frame of a window.
    """

    def __init__(
        self, version: int, batch_windows: int, faults: EngineFaults, rng: random.Random, *, answers_whole: bool = False
    ) -> None:
        self.answers_whole = answers_whole
        self.batch_windows = batch_windows
        self.faults = faults
        self.failed_s = float("-inf")
        self.is_running = False
        self._version = version
        self._rng = rng

    async def lift(self, batch: Items[Slice]) -> Items[NDArray[np.float32]]:
        assert not self.is_running, "an engine was given two batches at a time"
        self.is_running = True
        try:
            await asyncio.sleep(self._rng.random() * self.faults.delay_s)
        finally:
            self.is_running = False
        if self._rng.random() < self.faults.shrink:
            self.batch_windows = max(1, self.batch_windows // 2)
        if self._rng.random() < self.faults.fail:
            self.failed_s = asyncio.get_running_loop().time()
            raise RuntimeError("the simulated device failed")
        answers = [self._poses(part) for part in batch]
        if len({len(answer) for answer in answers}) > 1 and self._rng.random() < self.faults.swap:
            self.failed_s = asyncio.get_running_loop().time()
            answers.sort(key=len)
            return answers if [*map(len, answers)] != [len(part.index) for part in batch] else answers[::-1]
        return answers

    def _poses(self, part: Slice) -> NDArray[np.float32]:
        frames = part.frames[part.index]
        is_mirrored = frames[:, 0, 0, 0] < 0
        if is_mirrored.any():
            frames[is_mirrored] = mirror(frames[is_mirrored], SKELETON)
        seen = frames[:, :, :2, 0]
        answer = np.zeros((len(seen), JOINTS, 3), np.float32)
        answer[:, : seen.shape[1], :2] = seen
        answer[:, :, 2] = mark_of(self._version, 0)
        if not self.answers_whole:
            return answer
        whole = np.repeat(answer[:, None], seen.shape[1], axis=1)
        whole[..., 2] += np.arange(seen.shape[1], dtype=np.float32)[:, None]
        if is_mirrored.any():
            whole[is_mirrored] = mirror(whole[is_mirrored], SKELETON)
        return whole
