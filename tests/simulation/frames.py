"""The frames that simulated clients send, and what the poses lifted from them must be.

The first joint of a frame says whose frame it is, the second one is missing now and then, the third one stands in the
middle of the picture, for nobody is warned then that all joints lie outside of it; all others are always missing.
Pixels and picture are chosen so that screen coordinates are whole numbers, or halves, and exact.
"""

import math
import struct
from collections.abc import Sequence as Items
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from poselift_service.inference.queue import Priority
from poselift_service.sessions.session import Opening
from poselift_service.sessions.store import STAMP_BYTES

from poselift.artifacts.manifest import Manifest
from tests.simulation.engine import JOINTS, SKELETON, mark_of
from tests.simulation.sequential_store import State

RATE_HZ = 50
SIZE_PX = 2
LIVE = Priority.LIVE
_POSITIONS = struct.Struct("<4f")

Seen = tuple[float, float]
"""The first coordinates of the first two joints of a frame."""


def manifest_of(version: int, system: str, frames: int, missing_joints: str) -> Manifest:
    return Manifest(
        name="simulated",
        version=version,
        system=system,
        network={"frames": frames},
        input_skeleton=SKELETON.name,
        output_skeleton=SKELETON.name,
        frame_rate_hz=RATE_HZ,
        temporal_stride=1,
        missing_joints=missing_joints,
        weights_sha256=f"{version:064x}",
    )


def opening_of(lookahead: int) -> Opening:
    return Opening(SKELETON, SIZE_PX, SIZE_PX, fps=RATE_HZ, lookahead=lookahead)


class Source(NamedTuple):
    """Who sends frames: each frame of each source differs from all others."""

    number: int
    has_gaps: bool

    def content(self, index: int) -> Seen:
        """What frame `index` shows."""
        one = float(self.number * 1000 + index + 1)
        return one, math.nan if self.has_gaps and (self.number + index) % 3 == 1 else one + 0.5

    def keypoints(self, first: int, stop: int) -> NDArray[np.float32]:
        keypoints = np.zeros((stop - first, JOINTS, 3), np.float32)
        for position, (one, other) in enumerate(map(self.content, range(first, stop))):
            keypoints[position, 0] = one + 1, 1, 1
            keypoints[position, 2] = 1, 1, 1
            if other == other:
                keypoints[position, 1] = other + 1, 1, 1
        return keypoints


def seen_in(entry: bytes) -> Seen:
    """What a stored frame shows."""
    one, _, other, _ = _POSITIONS.unpack_from(entry, STAMP_BYTES)
    return one, other


class Pose(NamedTuple):
    """What a pose shows.

    Attributes:
        frames: of its window.
        mark: its version, and the position in the window that it is for.
        future: frames after the target that it has seen.
    """

    frames: list[Seen]
    mark: float
    future: int


class Expectation:
    """What poses of a session must be, computed from its stored frames in the plainest way."""

    def __init__(self, manifest: Manifest, lookahead: int) -> None:
        self.lookahead = lookahead
        self._version = manifest.version
        self._frames = int(manifest.network["frames"])
        self._is_whole = manifest.sequence_to_sequence
        self._holds = manifest.missing_joints == "hold"

    @property
    def needed_before(self) -> int:
        return self._frames - 1 + (5 if self.lookahead else 4) if self._is_whole else self.lookahead + self._frames // 2

    def pose(self, state: State, target: int) -> "Pose":
        """What the pose of a target shows: of its window, or the mean of those of its neighbours."""
        shares = self._shares(target, state.next_index) if self._is_whole else {target: 1.0}
        wait = self.lookahead - (self._is_whole and self.lookahead > 0)
        own = [self._own(state, neighbour, wait) for neighbour in shares]
        frames = [
            tuple(
                sum(share * pose.frames[position][joint] for share, pose in zip(shares.values(), own, strict=True))
                for joint in range(2)
            )
            for position in range(self._frames)
        ]
        mark = sum(share * pose.mark for share, pose in zip(shares.values(), own, strict=True))
        return Pose(cast("list[Seen]", frames), mark, min(self.lookahead, state.next_index - 1 - target))

    def _shares(self, target: int, next_index: int) -> dict[int, float]:
        """The weights of the windows of a target and of its neighbours."""
        if self.lookahead and 0 < target < next_index - 1:
            return {target - 1: 0.25, target: 0.5, target + 1: 0.25}
        if target > 3:
            return {target - 4: -0.125, target - 1: 0.5, target: 0.625}
        return {target - 2: -0.25, target - 1: 0.5, target: 0.75} if target > 1 else {target: 1.0}

    def _own(self, state: State, target: int, wait: int) -> "Pose":
        """What the pose of one window shows, which has as many later frames as it waits for."""
        future = min(wait, state.next_index - 1 - target)
        start = target + future + 1 - self._frames if self._is_whole else target - self._frames // 2
        positions = (min(max(position, 0), target + future) for position in range(start, start + self._frames))
        mark = mark_of(self._version, self._frames - 1 - future if self._is_whole else 0)
        return Pose([self._given(seen_in(state.entries[position])) for position in positions], float(mark), future)

    def _given(self, seen: Seen) -> Seen:
        """What the network is given: a joint that was never seen is placed at the mean of those that were."""
        one, other = seen
        # Those are the first one, at `one`, and the third one, at 0.
        return (one, one / 2) if self._holds and other != other else seen

    def stored(self, sent: Seen, before: Seen | None) -> Seen:
        """What is stored of a frame, after the one before it."""
        one, other = sent
        return (one, before[1]) if self._holds and before and other != other else sent


def same(one: Items[Seen], other: Items[Seen]) -> bool:
    """Whether frames are equal; a missing joint equals a missing joint."""
    return all(a == c and (b == d or (b != b and d != d)) for (a, b), (c, d) in zip(one, other, strict=True))
