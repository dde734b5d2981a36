"""What the caller knows of the camera and of the person; everything is optional."""

import math
from dataclasses import dataclass

from poselift.errors import InvalidKeypoints


@dataclass(frozen=True)
class Camera:
    """What is known of a camera.

    Attributes:
        focal_px: focal length, pixels.
        principal_point_px: where the optical axis meets the picture; None: its middle.
        distortion: OpenCV's k1, k2, p1, p2, k3 (or fewer: the first four or five), or with `fisheye` its k1 to k4.
        fisheye: which of the two models the distortion is of.
        gravity: unit vector in camera axes, the direction of falling.
    """

    focal_px: float | None = None
    principal_point_px: tuple[float, float] | None = None
    distortion: tuple[float, ...] = ()
    fisheye: bool = False
    gravity: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Person:
    """What is known of a person.

    Attributes:
        height_m: stature, standing, without shoes.
    """

    height_m: float | None = None


UNKNOWN_CAMERA = Camera()
UNKNOWN_PERSON = Person()


def focal_from_fov(fov_deg: float, width_px: float) -> float:
    """Focal length in pixels of a horizontal field of view.

    Raises:
        InvalidKeypoints: the angle is not between 1 and 170 degrees.
    """
    if not 1 <= fov_deg <= 170:
        raise InvalidKeypoints(f"The field of view must be 1 to 170 degrees, not {fov_deg:g}.", path="camera.fov_deg")
    return width_px / (2 * math.tan(math.radians(fov_deg) / 2))


def gravity_from_angles(pitch_deg: float, roll_deg: float) -> tuple[float, float, float]:
    """The direction of falling in camera axes.

    Args:
        pitch_deg: positive when the camera looks down.
        roll_deg: positive when the camera is turned clockwise about its optical axis, so that the picture's content
            turns counter-clockwise.
    """
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    return (math.cos(pitch) * math.sin(roll), math.cos(pitch) * math.cos(roll), math.sin(pitch))
