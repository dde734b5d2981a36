"""The motion in the world of a lifted clip."""

from collections.abc import Sequence as Items
from dataclasses import replace

import numpy as np

from poselift.errors import InvalidPoses
from poselift.lifting import Lifted
from poselift.motion.gravity import gather
from poselift.motion.to_world import frames_in_view, to_world
from poselift.motion.world import Gravity, WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import SKELETONS, Skeleton

_SKELETON = SKELETONS["h36m17"]
# Nobody is smaller; such poses have no bones.
_LEAST_EXTENT_M = 0.05


def check_skeleton(of_poses: Skeleton) -> None:
    """Refuse poses that cannot be put into the world, before they are computed.

    Raises:
        InvalidPoses: they are not of Human3.6M's 17 joints.
    """
    if of_poses != _SKELETON:
        raise InvalidPoses(
            f"Motion in the world is found for poses of {_SKELETON.name}, and this model answers in {of_poses.name}; "
            "choose another model, or leave world out.",
            path="world",
        )


def motion_of(lifted: Lifted, sequence: Sequence, options: WorldOptions) -> WorldMotion:
    """Put the poses of a clip into the world.

    Args:
        lifted: a pose for every frame of the sequence, in a skeleton that `check_skeleton` accepts.
        sequence: the keypoints, with what is known of camera and person.
    Raises:
        InvalidPoses: the poses have no size.
        InvalidKeypoints: the path cannot be found from these keypoints.
    """
    extent_m = np.ptp(lifted.joints, axis=1).max(axis=1)
    if np.median(extent_m) < _LEAST_EXTENT_M:
        raise InvalidPoses(
            f"The poses are {np.median(extent_m):.3g} m large, too small for motion in the world.", path="poses"
        )
    return to_world(
        lifted.joints,
        lifted.expected_error_m,
        sequence,
        options,
        gravity_hint(lifted, sequence),
    )


def with_gravity(lifted: Lifted, direction: Items[float], uncertainty_deg: float, path: str) -> Lifted:
    """Poses with what their network told of gravity, as an answer keeps it.

    Args:
        path: of it in the answer, for the error.
    Raises:
        InvalidPoses: it is no direction, or no angle.
    """
    frames, down = len(lifted.joints), np.array(direction, np.float32)
    if down.shape != (3,) or not np.isfinite(down).all() or not down.any() or not 0 <= uncertainty_deg <= 180:
        raise InvalidPoses(
            "What the network told of gravity must be a direction of three numbers that are not all 0, and an "
            "uncertainty of 0 to 180 degrees; leave it out, or keep it as it was answered.",
            path=path,
        )
    errors = np.full(frames, np.radians(uncertainty_deg), np.float32)
    return replace(lifted, gravity=np.tile(down, (frames, 1)), gravity_error=errors)


def gravity_hint(lifted: Lifted, sequence: Sequence) -> Gravity | None:
    """What the network tells of the direction of falling where the person is in view; None if it does not."""
    if lifted.gravity is None or lifted.gravity_error is None:
        return None
    in_view = frames_in_view(sequence)
    return gather(lifted.gravity[in_view], lifted.gravity_error[in_view], sequence.times_s[in_view])
