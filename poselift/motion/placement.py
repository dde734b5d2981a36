"""World axes: upright, the floor at 0, the start over the origin, facing ahead.

Letters: F frames. Points before the camera have its axes; world points y up, z ahead of the person at the start, x to
their left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.skeletons import skeleton

Floats = NDArray[np.float64]

_H36M = skeleton("h36m17")
_JOINT = {name: index for index, name in enumerate(_H36M.joint_names)}
_ANKLES = np.array([_JOINT["left_ankle"], _JOINT["right_ankle"]])
_ACROSS = ((_JOINT["left_hip"], _JOINT["right_hip"]), (_JOINT["left_shoulder"], _JOINT["right_shoulder"]))

# Height of an ankle above the floor that it stands on, as a share of the stature.
ANKLE_HEIGHT = 0.05
# The floor is below all but so many of the lower ankles.
_FLOOR_QUANTILE = 0.1
# The first frames are looked at together to tell where a person faces at the start.
_START_FRAMES = 5


@dataclass(frozen=True)
class Placement:
    """How points before the camera map to the world.

    Attributes:
        rotation: [3, 3] camera axes to world axes.
        shift: [3] metres, added after it.
    """

    rotation: Floats
    shift: Floats

    def place(self, points: Floats) -> Floats:
        """Map points [..., 3]."""
        return np.asarray(points @ self.rotation.T + self.shift)

    def back(self, points: Floats) -> Floats:
        """Map points [..., 3] from the world to the camera."""
        return np.asarray((points - self.shift) @ self.rotation)


def upright_axes(poses: Floats, down: Floats) -> Floats:
    """Rotation [3, 3] from camera axes to those of the world, as people [F, 17, 3] face at the start."""
    up = -down / np.linalg.norm(down)
    start = poses[:_START_FRAMES].mean(axis=0)
    left = sum(((start[a] - start[b]) for a, b in _ACROSS), np.zeros(3))
    ahead = np.cross(left, up)
    if np.linalg.norm(ahead) < 1e-3:  # whoever lies on a side faces neither up nor down: the camera's axis serves
        ahead = np.cross(np.cross(up, [0.0, 0.0, -1.0]), up)
    if np.linalg.norm(ahead) < 1e-3:
        ahead = np.cross(np.cross(up, [0.0, 1.0, 0.0]), up)
    ahead /= np.linalg.norm(ahead)
    return np.stack([np.cross(up, ahead), up, ahead])


def place(poses: Floats, path: Floats, down: Floats, height_m: float) -> Placement:
    """Find the world of a clip.

    Args:
        poses: [F, 17, 3] relative to the pelvis, camera axes.
        path: [F, 3] the pelvis, camera axes.
        down: [3] direction of falling, camera axes.
        height_m: stature.
    """
    rotation = upright_axes(poses, down)
    start = rotation @ path[0]
    ankles = (poses[:, _ANKLES] + path[:, None]) @ rotation[1]
    floor = np.quantile(ankles.min(axis=1), _FLOOR_QUANTILE) - ANKLE_HEIGHT * height_m
    return Placement(rotation, -np.array([start[0], floor, start[2]]))


def turn_up_axis(points: Floats) -> Floats:
    """World points [..., 3] with y up as points with z up: x stays to the left, and y is behind."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def turn_rotations(rotations: Floats) -> Floats:
    """Rotations [..., 4], w x y z, in axes with y up as those in axes with z up."""
    return np.concatenate([rotations[..., :1], turn_up_axis(rotations[..., 1:])], axis=-1)
