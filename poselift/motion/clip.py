"""The motion in the world of a lifted clip."""

from poselift.errors import InvalidPoses
from poselift.lifting import Lifted
from poselift.motion.to_world import to_world
from poselift.motion.world import WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import SKELETONS, Skeleton

_SKELETON = SKELETONS["h36m17"]


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
        InvalidKeypoints: the path cannot be found from these keypoints.
    """
    return to_world(lifted.joints, lifted.expected_error_m, sequence, sequence.camera, sequence.person, options)
