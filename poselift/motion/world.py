"""Motion in the world, and what a caller may choose about it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FootLock = Literal["off", "auto", "always", "grounding"]


@dataclass(frozen=True)
class WorldOptions:
    """How motion in the world is answered.

    Attributes:
        up_axis: "y" (x left, z forward of a person at the start) or "z" (x left, y backward).
        foot_lock: "off" leaves feet as they are; "auto" holds them still while they touch the ground; "always" takes
            them to touch it in every frame in which they are the lower one; "grounding" only keeps the lower foot on
            the ground.
        rotations: also answer rotations of joints.
        angles: also answer angles of joints as clinicians name them.
    """

    up_axis: Literal["y", "z"] = "y"
    foot_lock: FootLock = "auto"
    rotations: bool = False
    angles: bool = False


DEFAULT_OPTIONS = WorldOptions()


@dataclass(frozen=True)
class Gravity:
    """The direction of falling.

    Attributes:
        direction: [3] unit vector in camera axes.
        uncertainty_deg: expected error of the direction, degrees; 0 if it was given.
        given: whether the caller gave it.
    """

    direction: NDArray[np.float64]
    uncertainty_deg: float
    given: bool


@dataclass(frozen=True)
class WorldMotion:
    """The motion of one person in the world.

    Attributes:
        poses: [F, 17, 3] metres, world axes: floor at 0, the pelvis of the first frame over the origin, facing +z there
            (with `up_axis` "y").
        root: [F, 3] metres, the pelvis.
        contacts: [F, 2] probability that the left and the right foot touch the ground.
        scale: factor from the network's metres to these.
        height_m: stature that this scale means, see `docs/motion.md`.
        gravity: the direction of falling, given or estimated.
        focal_px: focal length that the path was found with, pixels.
        focal_given: whether the caller gave it.
        bones: [17] metres, length of the bone that ends in each joint, the same in all frames; 0 for the pelvis.
        up_axis: that of the options.
        rotations: [F, 17, 4] w, x, y, z, of each joint relative to the T-pose in its parent's frame; None if not asked.
        angles: degrees [F] by name; None if not asked.
        network_gravity: what the network by itself tells of gravity; None if it does not, and in streams.
    """

    poses: NDArray[np.float64]
    root: NDArray[np.float64]
    contacts: NDArray[np.float64]
    scale: float
    height_m: float
    gravity: Gravity
    focal_px: float
    focal_given: bool
    bones: NDArray[np.float64]
    up_axis: Literal["y", "z"] = "y"
    rotations: NDArray[np.float64] | None = None
    angles: dict[str, NDArray[np.float64]] | None = None
    network_gravity: Gravity | None = None


def y_up(points: NDArray[np.floating], up_axis: Literal["y", "z"]) -> NDArray[np.float64]:
    """Points [..., 3] of the world with y up, whichever axis points up in them."""
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    return np.stack([x, y, z] if up_axis == "y" else [x, z, -y], axis=-1)
