"""What callers give: the keypoints, or the 3D poses, of one person over time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.errors import InvalidKeypoints, InvalidPoses
from poselift.missing import mark_missing
from poselift.skeletons import Skeleton

# Detections may lie outside the picture, but not this far: a larger number is an error.
MAX_POSITION_PX = 1e6
# Enough for a time of day in seconds.
MAX_TIMESTAMP_S = 1e11
# Times that float numbers of a constant rate may differ by, as a fraction of a frame.
_ROUNDING = 1e-6
# A position farther from the origin is an error.
MAX_POSITION_M = 1e4


@dataclass(frozen=True)
class Sequence:
    """The detected keypoints of one person over time.

    Attributes:
        keypoints: [F, J, 3] float32: x and y in pixels, score in [0, 1]; x and y are NaN where a joint is missing, also
            where `mark_missing` has found that it is.
        width_px, height_px: size of the picture that they were detected in.
        times_s: [F] strictly increasing, seconds.
        camera, person: what is known of them; the keypoints are distorted where the camera is.
    Raises:
        InvalidKeypoints: a shape is wrong, a value is infinite, or the times do not increase.
    """

    keypoints: NDArray[np.float32]
    skeleton: Skeleton
    width_px: float
    height_px: float
    times_s: NDArray[np.float64]
    camera: Camera = UNKNOWN_CAMERA
    person: Person = UNKNOWN_PERSON

    def __post_init__(self) -> None:
        frames = len(self.keypoints)
        if self.keypoints.shape != (frames, self.skeleton.n_joints, 3) or frames == 0:
            raise InvalidKeypoints(
                f"Keypoints of skeleton {self.skeleton.name} must have the shape [frames, {self.skeleton.n_joints}, 3] "
                f"with at least one frame, not {list(self.keypoints.shape)}.",
                path="keypoints",
            )
        if np.isinf(self.keypoints).any():
            raise InvalidKeypoints("Keypoints must be finite numbers.", path="keypoints")
        if not (self.width_px > 0 and self.height_px > 0):
            raise InvalidKeypoints(
                f"The image size must be positive, not {self.width_px} x {self.height_px}.", path="image_size"
            )
        check_times(self.times_s, frames)
        object.__setattr__(self, "keypoints", mark_missing(self.keypoints))

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """Times [F] since the first frame, because the origin of times must not matter."""
        elapsed_s: NDArray[np.float64] = self.times_s - self.times_s[0]
        return elapsed_s

    @staticmethod
    def times_at(fps: float, frames: int) -> NDArray[np.float64]:
        """Times [F] of frames at a constant rate.

        Raises:
            InvalidKeypoints: the rate is not a positive, finite number.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise InvalidKeypoints(f"The frame rate must be a positive number, not {fps}.", path="fps")
        return np.arange(frames, dtype=np.float64) / fps


def check_times(times_s: NDArray[np.float64], frames: int) -> None:
    """Check the times of frames.

    Args:
        times_s: [F] seconds.
        frames: number of frames, at least 1.
    Raises:
        InvalidKeypoints: there is not one time per frame, or the times do not increase.
    """
    if times_s.shape != (frames,):
        raise InvalidKeypoints(f"There must be one time per frame ({frames}).", path="timestamps_s")
    # Increasing times between finite ends are finite.
    ends_are_finite = math.isfinite(times_s[0]) and math.isfinite(times_s[-1])
    if not (ends_are_finite and (times_s[1:] > times_s[:-1]).all()):
        raise InvalidKeypoints("Times must increase from frame to frame.", path="timestamps_s")


def constant_rate_hz(times_s: NDArray[np.float64], tolerance: float = _ROUNDING) -> float | None:
    """The frame rate of times [F], in Hz.

    Args:
        tolerance: how far a time may lie from that of a constant rate, as a fraction of a frame.
    Returns:
        None for a single frame, and for times that are uneven.
    """
    intervals = len(times_s) - 1
    if not intervals:
        return None
    interval_s = (times_s[-1] - times_s[0]) / intervals
    frames = (times_s - times_s[0]) / interval_s
    if np.abs(frames - np.arange(len(times_s))).max() > tolerance:
        return None
    return round(float(1 / interval_s), 6)


@dataclass(frozen=True)
class PoseSequence:
    """The 3D poses of one person over time, with missing joints.

    Attributes:
        joints: [F, J, 3] float64 metres, camera axes (x right, y down, z forward), any origin; NaN where missing.
        times_s: [F] strictly increasing, seconds.
    Raises:
        InvalidPoses: a shape is wrong, a value is infinite, or the root joint is missing in all frames.
        InvalidKeypoints: the times do not increase.
    """

    joints: NDArray[np.float64]
    skeleton: Skeleton
    times_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        frames, expected = len(self.joints), self.skeleton.n_joints
        if self.joints.shape != (frames, expected, 3) or frames == 0:
            raise InvalidPoses(
                f"Poses of skeleton {self.skeleton.name} must have the shape [frames, {expected}, 3] with at least one "
                f"frame, not {list(self.joints.shape)}.",
                path="poses",
            )
        if np.isinf(self.joints).any():
            raise InvalidPoses("Poses must be finite numbers.", path="poses")
        check_root(self.joints, self.skeleton, "poses")
        check_times(self.times_s, frames)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """The joints [F, J] to fill in."""
        return np.asarray(np.isnan(self.joints).any(axis=-1))

    @property
    def root_m(self) -> NDArray[np.float64]:
        """Given or interpolated positions of the root joint, [F, 3] metres."""
        assert self.skeleton.root is not None, "poses of a skeleton without a root are refused"
        given = self.joints[:, self.skeleton.root]
        known = ~np.isnan(given).any(axis=-1)
        return np.stack([np.interp(self.times_s, self.times_s[known], axis[known]) for axis in given.T], axis=-1)


def check_root(joints: NDArray[np.floating], skeleton: Skeleton, path: str) -> None:
    """Refuse poses [F, J, 3] that cannot be expressed relative to their root joint.

    Args:
        path: name of the field that they came from, for the error.
    Raises:
        InvalidPoses: the skeleton has no root, or it is missing in all frames.
    """
    if skeleton.root is None:
        raise InvalidPoses(f"Poses of {skeleton.name} cannot be completed: it has no pelvis.", path="skeleton")
    if np.isnan(joints[:, skeleton.root]).any(axis=-1).all():
        name = skeleton.joint_names[skeleton.root]
        raise InvalidPoses(f"The {name} must be given in one frame at least: the others are relative to it.", path=path)
