"""What a camera is told to be turned by about its optical axis: undone for lifters, and done again to their poses.

Lifters know few people who lie across the picture because the camera did. Turning the picture about the point that the
optical axis meets it in is what a camera that had stood upright would have seen.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera

if TYPE_CHECKING:
    from poselift.lifting import Lifted

# The roll of a camera that looks straight up or down is none, and that of one that nearly does is uncertain.
_LEAST_LEVEL = 0.5
_NO_ROLL = 1e-6


def upright(camera: Camera) -> Camera:
    """The same camera without its roll, as far as that is known."""
    if _roll(camera) is None:
        return camera
    assert camera.gravity is not None
    x, y, z = camera.gravity
    return replace(camera, gravity=(0.0, math.hypot(x, y), z))


def turn_upright(screen: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Screen coordinates [..., 2] about the principal point, as the camera without its roll would see them."""
    turn = _turn(camera)
    return screen if turn is None else screen @ turn.T


def turn_back(lifted: "Lifted", camera: Camera) -> "Lifted":
    """Poses of what `turn_upright` turned, before the camera as it is."""
    turn = _turn(camera)
    if turn is None:
        return lifted
    joints = lifted.joints.copy()
    joints[..., :2] = joints[..., :2] @ turn
    gravity = lifted.gravity
    if gravity is not None:
        gravity = gravity.copy()
        gravity[..., :2] = gravity[..., :2] @ turn
    return replace(lifted, joints=joints, gravity=gravity)


def _roll(camera: Camera) -> float | None:
    """Radians by which the camera is turned; None if that is not known, or not at all."""
    if camera.gravity is None or math.hypot(*camera.gravity[:2]) < _LEAST_LEVEL:
        return None
    roll = math.atan2(*camera.gravity[:2])
    return None if abs(roll) < _NO_ROLL else roll


def _turn(camera: Camera) -> NDArray[np.float32] | None:
    """The rotation [2, 2] of points in the picture that makes it upright; None if it is."""
    roll = _roll(camera)
    if roll is None:
        return None
    cosine, sine = math.cos(roll), math.sin(roll)
    return np.array([[cosine, -sine], [sine, cosine]], np.float32)
