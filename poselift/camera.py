"""What the caller knows of the camera and of the person; everything is optional."""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints

Angle = TypeVar("Angle", float, NDArray[Any])


@dataclass(frozen=True)
class Camera:
    """What is known of a camera.

    Attributes:
        focal_px: focal length, pixels.
        principal_point_px: where the optical axis meets the picture; None: its middle.
        distortion: OpenCV's k1, k2, p1, p2, k3 (or fewer: the first four or five), or with `fisheye` its k1 to k4.
        fisheye: which of the two models the distortion is of. Zeros are no distortion, but those of a fisheye are that
            of an equidistant lens.
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


def focal_from_fov(fov_deg: float, width_px: float, fisheye: tuple[float, ...] | None = None) -> float:
    """Focal length in pixels of a horizontal field of view.

    Args:
        fisheye: k1 to k4 if the lens is one.
    Raises:
        InvalidKeypoints: the angle is not between 1 and 170 degrees, or this fisheye sees nothing at half of it.
    """
    if not 1 <= fov_deg <= 170:
        raise InvalidKeypoints(f"The field of view must be 1 to 170 degrees, not {fov_deg:g}.", path="camera.fov_deg")
    angle = math.radians(fov_deg) / 2
    if fisheye is None:
        return width_px / (2 * math.tan(angle))
    radius = fisheye_radius(angle, fisheye)
    if radius <= 0:
        raise InvalidKeypoints(
            f"With this distortion a fisheye has no ray {fov_deg / 2:g} degrees off its axis: check its k1 to k4, or "
            "give focal_px instead of fov_deg.",
            path="camera.distortion",
        )
    return width_px / (2 * radius)


def fisheye_radius(angle: Angle, distortion: tuple[float, ...]) -> Angle:
    """How far from the principal point a fisheye shows a ray, in focal lengths.

    Args:
        angle: of the ray to the optical axis, radians; a number or an array.
        distortion: k1 to k4.
    Source: OpenCV, `fisheye`.
    """
    k1, k2, k3, k4 = distortion
    a2 = angle * angle
    radius: Angle = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    return radius


def gravity_from_angles(pitch_deg: float, roll_deg: float) -> tuple[float, float, float]:
    """The direction of falling in camera axes.

    Args:
        pitch_deg: positive when the camera looks down.
        roll_deg: positive when the camera is turned clockwise about its optical axis, so that the picture's content
            turns counter-clockwise.
    """
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    return (math.cos(pitch) * math.sin(roll), math.cos(pitch) * math.cos(roll), math.sin(pitch))
