"""Poses as the markers of motion capture: names, axes and a constant frame rate, as OpenSim and its tools expect."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidFile
from poselift.formats.writers.track import LiftedTrack, times_of
from poselift.motion.world import y_up
from poselift.sequence import constant_rate_hz
from poselift.skeletons import Skeleton, skeleton

# The names of Pose2Sim's OpenSim models, so that these find the markers; other joints follow the same pattern.
_NAMES = {"pelvis": "Hip", "thorax": "Neck", "neck_nose": "Nose"}
_SIDES = {"left_": "L", "right_": "R"}

MAX_C3D_FRAMES = 65_534
"""Frames are counted in 16 bits, and 65535 says that they are counted elsewhere, by each program in its own way."""
# Rounded timestamps are taken as even up to this fraction of a frame.
_JITTER = 0.05
# Frames in between that a recording with gaps may need, as a multiple of those that it has.
_MOST_FRAMES = 20


class Markers(NamedTuple):
    """Positions at a constant rate.

    Attributes:
        names: J markers.
        rate_hz: frames per second.
        first_frame: number of the first frame in the recording, from 0.
        positions_m: [F, J, 3] metres, in the axes of OpenSim: x forward, y up, z right. Of motion in the world, as the
            person stands in the first frame, on the ground; else of somebody who faces a level camera, from the pelvis:
            x towards the camera, z to the left of the picture.
    """

    names: list[str]
    rate_hz: float
    first_frame: int
    positions_m: NDArray[np.float64]


def markers_of(track: LiftedTrack, manifest: Manifest) -> Markers:
    """The markers of one person, in the world if their motion in it is known.

    Poses at uneven times are interpolated at their median rate.

    Raises:
        InvalidFile: there are gaps of so many frames that no recording can have them.
    """
    if track.world is None:
        positions_m = -track.lifted.joints[..., ::-1].astype(np.float64)  # x, y, z of the camera become -z, -y, -x
        names = marker_names(manifest.target)
    else:
        x, y, z = np.moveaxis(y_up(track.world.poses, track.world.up_axis), -1, 0)
        positions_m = np.stack([z, y, -x], axis=-1)
        names = marker_names(skeleton("h36m17"))
    rate_hz, even = _evenly(positions_m, times_of(track), manifest)
    return Markers(names, rate_hz, track.first_frame, even + 0.0)  # adding zero turns -0.0 into 0.0


def marker_names(skeleton: Skeleton) -> list[str]:
    """The names of a skeleton's joints as markers: `right_hip` is RHip, `thorax` Neck."""
    return [_marker_name(joint) for joint in skeleton.joint_names]


def _marker_name(joint: str) -> str:
    if joint in _NAMES:
        return _NAMES[joint]
    side = next((prefix for prefix in _SIDES if joint.startswith(prefix)), "")
    return _SIDES.get(side, "") + joint.removeprefix(side).title().replace("_", "")


def even_times(times_s: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The times, at the median rate of uneven ones, to which poses are interpolated; None if times are even enough.

    Raises:
        InvalidFile: there are gaps of so many frames that no recording can have them.
    """
    if len(times_s) == 1 or constant_rate_hz(times_s, _JITTER) is not None:
        return None
    interval_s = float(np.median(np.diff(times_s)))
    frames = int((times_s[-1] - times_s[0]) / interval_s + _JITTER) + 1
    if frames > _MOST_FRAMES * len(times_s):
        raise InvalidFile(
            f"Frames lie up to {np.diff(times_s).max():g} s apart, and files of markers have a constant rate; "
            "write .csv or .npz, or give the frame rate (--fps)."
        )
    even_s: NDArray[np.float64] = times_s[0] + interval_s * np.arange(frames)
    return even_s


def _evenly(
    joints: NDArray[np.float64], times_s: NDArray[np.float64], manifest: Manifest
) -> tuple[float, NDArray[np.float64]]:
    """A rate, and the positions [F, J, 3] at it."""
    if len(times_s) == 1:
        return manifest.frame_rate_hz, joints  # any rate is as right
    if (even_s := even_times(times_s)) is not None:
        flat = [np.interp(even_s, times_s, coordinate) for coordinate in joints.reshape(len(joints), -1).T]
        times_s, joints = even_s, np.stack(flat, axis=1).reshape(len(even_s), *joints.shape[1:])
    return constant_rate_hz(times_s, _JITTER) or manifest.frame_rate_hz, joints
