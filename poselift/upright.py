"""What a camera is told to be turned by about its optical axis: undone for lifters, and done again to their poses.

Lifters know few people who lie across the picture because the camera did. Turning the picture about the point that the
optical axis meets it in is what a camera that had stood upright would have seen.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera

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


def turn_upright(points: NDArray[np.floating], camera: Camera) -> NDArray[np.floating]:
    """Points of the picture [..., 2] or of the space before it [..., 3] as the camera without its roll has them.

    Args:
        points: about the principal point; the same array comes back if there is nothing to turn.
    """
    return _turned(points, camera, 1)


def turn_back(points: NDArray[np.floating], camera: Camera) -> NDArray[np.floating]:
    """Inverse of `turn_upright`."""
    return _turned(points, camera, -1)


def _turned(points: NDArray[np.floating], camera: Camera, sense: int) -> NDArray[np.floating]:
    roll = _roll(camera)
    if roll is None:
        return points
    cosine, sine = math.cos(roll), sense * math.sin(roll)
    turned = points.copy()
    turned[..., :2] = points[..., :2] @ np.array([[cosine, sine], [-sine, cosine]], points.dtype)
    return turned


def _roll(camera: Camera) -> float | None:
    """Radians by which the camera is turned; None if that is not known, or not at all."""
    if camera.gravity is None or math.hypot(*camera.gravity[:2]) < _LEAST_LEVEL:
        return None
    roll = math.atan2(*camera.gravity[:2])
    return None if abs(roll) < _NO_ROLL else roll
