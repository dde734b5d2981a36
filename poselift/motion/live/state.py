"""What a live stream remembers of its motion in the world, and its form to be kept between two calls."""

import struct
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.motion.live.feet import NO_FEET, FeetState, Foot
from poselift.motion.live.root import UNKNOWN_ROOT, Followed, Root
from poselift.motion.rotations import RotationState

Floats = NDArray[np.float64]

FIRST_NUMBERS = 58
"""How many there are in a row of `LiveState.first`."""
_FORMAT = 4
_FIXED = struct.Struct("<BqddHH??")
# Numbers of `LiveState` from `root` to `gravity`, of the feet, and of the rig.
_SIZES = 15, 17, 17, 9, 3, 4
_FOOT_SIZES = 11, 11, 3, 3
_RIG_SIZES = 5, 5, 68


class LiveState(NamedTuple):
    """What a stream remembers; a few kilobytes.

    Attributes:
        frames: how many there were.
        start_s, time_s: of the first frame with somebody in view, later by as long as nobody was since; and of the
            newest frame.
        root: the filtered place of the pelvis before the camera.
        bones: [17] metres as the network has them; weights: [17] how much they rest on, 0 until somebody is in view.
        settled: whether the world stays.
        rotation, shift: the `Placement` in the world.
        gravity: [4] direction of falling and uncertainty in degrees.
        first: [N, 58] poses, places and what the network tells of gravity (NaN if it does not) in the first second,
            that somebody is in view, until the world has settled; each a float32 number.
        feet: contacts and locked feet.
        rig: what rotations follow; None before the first, and where they are not asked for.
    """

    frames: int
    start_s: float
    time_s: float
    root: Root
    bones: Floats
    weights: Floats
    settled: bool
    rotation: Floats
    shift: Floats
    gravity: Floats
    first: Floats
    feet: FeetState
    rig: RotationState | None = None

    @staticmethod
    def start() -> "LiveState":
        """No frames yet."""
        return LiveState(
            frames=0,
            start_s=0.0,
            time_s=0.0,
            root=UNKNOWN_ROOT,
            bones=np.zeros(17),
            weights=np.zeros(17),
            settled=False,
            rotation=np.eye(3),
            shift=np.zeros(3),
            gravity=np.zeros(4),
            first=np.zeros((0, FIRST_NUMBERS)),
            feet=NO_FEET,
        )

    def to_bytes(self) -> bytes:
        """For keeping between two calls; inverse: `from_bytes`."""
        feet, rig = self.feet, self.rig
        counts = len(self.first), len(feet.times_s)
        head = _FIXED.pack(_FORMAT, self.frames, self.start_s, self.time_s, *counts, self.settled, rig is not None)
        followed = list(chain(*self.root))
        left, right = (
            [foot.odds, foot.held, *foot.anchor, *foot.leg, *foot.leg_speed] for foot in (feet.left, feet.right)
        )
        placed = self.bones, self.weights, self.rotation.ravel(), self.shift, self.gravity
        rigged = () if rig is None else (rig.twist, rig.certainty, rig.rotations.ravel())
        numbers = np.concatenate([followed, *placed, left, right, feet.root, feet.root_speed, *rigged, feet.times_s])
        history = np.concatenate([self.first.ravel(), feet.recent.ravel()])
        return head + numbers.astype("<f8").tobytes() + history.astype("<f4").tobytes()

    @staticmethod
    def from_bytes(kept: bytes) -> "LiveState":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it is of another format.
        """
        if not kept or kept[0] != _FORMAT:
            raise ValueError(f"The state of motion in the world has the format {kept[:1].hex()}, not {_FORMAT:02x}.")
        _, frames, start_s, time_s, n_first, n_recent, settled, has_rig = _FIXED.unpack_from(kept)
        sizes = *_SIZES, *_FOOT_SIZES, *(_RIG_SIZES if has_rig else ())
        n_numbers = sum(sizes) + n_recent
        numbers = np.frombuffer(kept, "<f8", n_numbers, _FIXED.size).astype(np.float64)
        history = np.frombuffer(kept, "<f4", offset=_FIXED.size + 8 * n_numbers).astype(np.float64)
        root, bones, weights, rotation, shift, gravity, *parts = np.split(numbers, np.cumsum(sizes))
        left, right, moved, moving, *rig, times_s = parts
        x, y, distance = root.reshape(3, 5).tolist()
        return LiveState(
            frames=frames,
            start_s=start_s,
            time_s=time_s,
            root=(Followed(*x), Followed(*y), Followed(*distance)),
            bones=bones,
            weights=weights,
            settled=settled,
            rotation=rotation.reshape(3, 3),
            shift=shift,
            gravity=gravity,
            first=history[: FIRST_NUMBERS * n_first].reshape(-1, FIRST_NUMBERS),
            feet=FeetState(
                recent=history[FIRST_NUMBERS * n_first :].reshape(-1, 3, 3),
                times_s=times_s,
                left=_foot(*left.tolist()),
                right=_foot(*right.tolist()),
                root=moved.tolist(),
                root_speed=moving.tolist(),
            ),
            rig=RotationState(rig[0], rig[1], rig[2].reshape(17, 4)) if rig else None,
        )


def _foot(odds: float, held: float, *vectors: float) -> Foot:
    return Foot(odds, held == 1, list(vectors[:3]), list(vectors[3:6]), list(vectors[6:]))
