"""Removes the distortion of a lens from keypoints, and turns pixels into rays."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera, fisheye_radius
from poselift.errors import InvalidKeypoints
from poselift.sequence import Sequence

# Fixed-point steps of the usual lens; OpenCV takes 5, which is not enough towards the corners of wide angles.
_STEPS = 20
# Newton steps of the fisheye.
_NEWTON_STEPS = 8
# Rays farther from the optical axis have no place in a flat picture.
_WIDEST = math.radians(85)
# A solution that the lens does not map back to the given place, in focal lengths, is none.
_MAX_RESIDUAL = 1e-3


def undistort(sequence: Sequence) -> Sequence:
    """The keypoints as a camera with the same focal length and principal point, without distortion, would see them.

    A keypoint outside of what the distortion can explain is missing.

    Raises:
        InvalidKeypoints: there is distortion, and no focal length; or the numbers of it are too few or too many.
    """
    camera = sequence.camera
    if not _is_distorted(camera):
        return sequence
    check_distortion(camera)
    assert camera.focal_px is not None, "checked"
    centre = principal_point(sequence)
    distorted = (sequence.keypoints[..., :2].astype(np.float64) - centre) / camera.focal_px
    remove = _from_fisheye if camera.fisheye else _from_radial_tangential
    with np.errstate(all="ignore"):  # far outside of the picture the polynomials overflow; what comes of it is missing
        flat = remove(distorted, camera.distortion)
    keypoints = sequence.keypoints.copy()
    keypoints[..., :2] = flat * camera.focal_px + centre
    return replace(sequence, keypoints=keypoints)


def check_distortion(camera: Camera) -> None:
    """Refuse distortion that cannot be removed.

    Raises:
        InvalidKeypoints: as `undistort`.
    """
    if not _is_distorted(camera):
        return
    if camera.focal_px is None:
        raise InvalidKeypoints(
            "Distortion is relative to the focal length: give camera.focal_px or camera.fov_deg too.",
            path="camera.distortion",
        )
    given = len(camera.distortion)
    if camera.fisheye and given != 4:
        raise InvalidKeypoints(
            f"The distortion of a fisheye must be its four numbers k1 to k4, not {given}.", path="camera.distortion"
        )
    if not camera.fisheye and given not in (4, 5):
        raise InvalidKeypoints(
            f"Distortion must be OpenCV's k1, k2, p1, p2 or k1, k2, p1, p2, k3, not {given} numbers.",
            path="camera.distortion",
        )


def _is_distorted(camera: Camera) -> bool:
    return camera.fisheye or any(camera.distortion)


def principal_point(sequence: Sequence) -> NDArray[np.float64]:
    """Where the optical axis meets the picture, [2] pixels."""
    if sequence.camera.principal_point_px is not None:
        return np.array(sequence.camera.principal_point_px, np.float64)
    return np.array([sequence.width_px / 2, sequence.height_px / 2])


def _from_radial_tangential(distorted: NDArray[np.float64], numbers: tuple[float, ...]) -> NDArray[np.float64]:
    """Slopes of rays [..., 2] by their places in focal lengths [..., 2]. Source: OpenCV, `undistortPoints`."""
    flat = distorted
    for _ in range(_STEPS):
        radial, tangential = _radial_tangential(flat, numbers)
        flat = (distorted - tangential) / radial
    radial, tangential = _radial_tangential(flat, numbers)
    # Beyond its largest radius the polynomial turns back, and the steps end nowhere.
    residual = np.abs(flat * radial + tangential - distorted).max(axis=-1, keepdims=True)
    return np.where((residual < _MAX_RESIDUAL) & (radial > 0), flat, np.nan)


def _radial_tangential(
    flat: NDArray[np.float64], numbers: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The factor [..., 1] and the shift [..., 2] of a lens at slopes [..., 2]."""
    k1, k2, p1, p2, k3 = (*numbers, 0.0)[:5]
    x, y = flat[..., 0], flat[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    shift = [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
    return radial[..., None], np.stack(shift, axis=-1)


def _from_fisheye(distorted: NDArray[np.float64], numbers: tuple[float, ...]) -> NDArray[np.float64]:
    """The same for a fisheye. Source: OpenCV, `fisheye::undistortPoints`."""
    k1, k2, k3, k4 = numbers
    radius = np.linalg.norm(distorted, axis=-1, keepdims=True)
    angle = np.minimum(radius, math.pi / 2)
    for _ in range(_NEWTON_STEPS):
        a2 = angle * angle
        slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
        angle = angle - (fisheye_radius(angle, numbers) - radius) / slope
    residual = np.abs(fisheye_radius(angle, numbers) - radius)
    usable = (residual < _MAX_RESIDUAL) & (angle >= 0) & (angle < _WIDEST)
    factor = np.where(radius > 1e-9, np.tan(angle) / np.maximum(radius, 1e-9), 1.0)
    return np.where(usable, distorted * factor, np.nan)
