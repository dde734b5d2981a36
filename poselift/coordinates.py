"""Pixels, screen coordinates, cameras and mirroring, in pairs of inverse functions.

World and camera coordinates are metres. The camera looks along +z; x points right and y down in its picture. Screen
coordinates map the picture's width to [-1, 1] and keep its aspect ratio. The functions accept NumPy arrays and torch
tensors, so data can be projected on any device.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints
from poselift.missing import mark_missing
from poselift.skeletons import Skeleton

if TYPE_CHECKING:
    # Imported when a tensor comes: the readers of files need these functions, and torch takes seconds to load.
    import torch

Array = TypeVar("Array", NDArray[Any], "torch.Tensor")

Coordinates = Literal["pixels", "normalised"]
"""What positions in a picture are given in; normalised ones are shares of its width and of its height."""

# Detectors place joints outside of the picture, but rarely farther than its size.
_MAX_TYPICAL_SHARE = 2.0


def shares_to_pixels(keypoints: NDArray[np.float32], width_px: float, height_px: float) -> NDArray[np.float32]:
    """Map shares of the picture to pixels.

    Args:
        keypoints: [..., 3] x as a share of the width, y as a share of the height, score; missing joints as
            `mark_missing` takes them.
        width_px, height_px: size of the picture, both > 0.
    Returns:
        [..., 3] x and y in pixels from the top-left corner, score.
    Raises:
        InvalidKeypoints: most positions lie so far outside of [0, 1] that they are no shares.
    """
    keypoints = mark_missing(keypoints)  # before a placeholder such as (-1, -1) becomes a place
    shares = np.abs(keypoints[..., :2])
    given = np.count_nonzero(~np.isnan(shares))
    if np.count_nonzero(shares > _MAX_TYPICAL_SHARE) > given / 2:
        raise InvalidKeypoints(
            f"The coordinates reach {np.nanmax(shares):g}, so they are no shares of the picture, which run from 0 to "
            '1; if they are pixels, leave "coordinates": "normalised" (--coordinates) out.',
            path="coordinates",
        )
    pixels: NDArray[np.float32] = keypoints * np.array([width_px, height_px, 1], np.float32)
    return pixels


def to_screen(pixels: Array, width_px: float, height_px: float) -> Array:
    """Map pixels to screen coordinates; both axes are divided by the width, so a circle stays a circle.

    Inverse: `to_pixels`.

    Args:
        pixels: [..., 2], origin at the top-left corner.
        width_px, height_px: size of the picture, both > 0.
    Returns:
        [..., 2]; x spans [-1, 1], y spans [-height/width, height/width].
    Raises:
        InvalidKeypoints: the last axis is not 2, or a size is not positive.
    Source: Pavllo et al. 2019, VideoPose3D.
    """
    _check_picture(pixels, width_px, height_px)
    scaled: Array = pixels * (2 / width_px)
    screen: Array = scaled - _like(scaled, (1.0, height_px / width_px))
    return screen


def to_pixels(screen: Array, width_px: float, height_px: float) -> Array:
    """Map screen coordinates [..., 2] back to pixels. Inverse of `to_screen`."""
    _check_picture(screen, width_px, height_px)
    x: Array = (screen[..., 0] + 1) * (width_px / 2)
    y: Array = (screen[..., 1] + height_px / width_px) * (width_px / 2)
    return _pair(x, y)


def screen_intrinsics(
    focal_px: NDArray[np.float64],
    centre_px: NDArray[np.float64],
    radial: NDArray[np.float64],
    tangential: NDArray[np.float64],
    width_px: float,
    height_px: float,
) -> NDArray[np.float64]:
    """Convert a camera's intrinsics to screen coordinates.

    Args:
        focal_px, centre_px: [2] in pixels.
        radial, tangential: [3] and [2] lens distortion, no unit.
    Returns:
        [9]: focal length x y, centre x y, radial 3, tangential 2.
    """
    centre = to_screen(centre_px, width_px, height_px)
    intrinsics: NDArray[np.float64] = np.concatenate([focal_px / width_px * 2, centre, radial, tangential])
    return intrinsics


def rotation_from_quaternion(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4] in the order w, x, y, z."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def world_to_camera(points: Array, rotation: Array, translation: Array) -> Array:
    """Map world points to camera coordinates. Inverse: `camera_to_world`.

    Args:
        points: [..., P, 3] metres.
        rotation: [..., 3, 3] from camera axes to world axes, as in Human3.6M.
        translation: [..., 3] position of the camera in the world, metres.
    Returns:
        [..., P, 3] metres.
    """
    camera: Array = (points - translation[..., None, :]) @ rotation
    return camera


def camera_to_world(points: Array, rotation: Array, translation: Array) -> Array:
    """Map camera points [..., P, 3] to world coordinates. Inverse of `world_to_camera`."""
    world: Array = points @ rotation.swapaxes(-1, -2) + translation[..., None, :]
    return world


def project_pinhole(points: Array, focal: Array, centre: Array) -> Array:
    """Project camera points [..., P, 3] through a pinhole, without distortion, to screen coordinates [..., P, 2].

    Args:
        focal, centre: [..., 2] (or [..., 1]) in screen coordinates.
    """
    screen: Array = points[..., :2] / points[..., 2:] * focal[..., None, :] + centre[..., None, :]
    return screen


def root_relative(joints: Array, root: int) -> Array:
    """Subtract the root joint: [..., J, 3] -> [..., J, 3] with zeros at `root`."""
    relative: Array = joints - joints[..., root : root + 1, :]
    return relative


def mirror(points: Array, skeleton: Skeleton) -> Array:
    """Mirror a person: negate x and swap left and right joints. It is its own inverse.

    Args:
        points: [..., J, D], x first, in coordinates whose x axis is centred (screen or camera). Further columns, such
            as an expected error, move with their joint; further rows, of a direction, keep their place.
    """
    order = [*skeleton.mirror_order, *range(skeleton.n_joints, int(points.shape[-2]))]
    swapped: Array = points[..., order, :]
    swapped[..., 0] *= -1
    return swapped


def _check_picture(points: Any, width_px: float, height_px: float) -> None:
    if points.shape[-1] != 2:
        raise InvalidKeypoints(f"Positions must have a last axis of 2, not {points.shape[-1]}.", path="keypoints")
    if not (width_px > 0 and height_px > 0):
        raise InvalidKeypoints(f"The image size must be positive, not {width_px} x {height_px}.", path="image_size")


def _like(array: Array, values: tuple[float, ...]) -> Array:
    """Numbers as an array of the same kind, dtype and device as another."""
    if isinstance(array, np.ndarray | np.generic):
        return np.array(values, dtype=array.dtype)
    return array.new_tensor(values)


def _pair(x: Array, y: Array) -> Array:
    if isinstance(x, np.ndarray | np.generic):
        return np.stack([x, y], axis=-1)
    import torch

    return torch.stack([x, y], dim=-1)
