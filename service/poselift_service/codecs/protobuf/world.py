"""Motion in the world in protobuf."""

from poselift.formats.writers.world import WORLD_AXES
from poselift.motion.world import WorldMotion
from poselift.pb import lifter_pb2 as pb
from poselift_service.codecs.protobuf.fields import set_floats

_ALL = slice(None)


def fill_world(message: pb.World, motion: WorldMotion) -> None:
    """Write the motion of a person."""
    fill_world_header(message, motion)
    fill_world_frames(message, motion)


def fill_world_header(message: pb.World, motion: WorldMotion) -> None:
    """Write what the frames of a motion have in common."""
    message.axes, message.unit = WORLD_AXES[motion.up_axis], "m"
    message.scale, message.height_m = motion.scale, motion.height_m
    gravity = motion.gravity
    message.gravity.direction.extend(gravity.direction.tolist())
    message.gravity.uncertainty_deg, message.gravity.given = gravity.uncertainty_deg, gravity.given
    if motion.network_gravity is not None:
        message.gravity.network.direction.extend(motion.network_gravity.direction.tolist())
        message.gravity.network.uncertainty_deg = motion.network_gravity.uncertainty_deg
    message.camera.focal_px, message.camera.given = motion.focal_px, motion.focal_given


def fill_world_frames(message: pb.World, motion: WorldMotion, rows: slice = _ALL) -> None:
    """Write what there is of each frame of a motion, or of some."""
    set_floats(message, pb.World.JOINTS_FIELD_NUMBER, motion.poses[rows])
    set_floats(message, pb.World.ROOT_FIELD_NUMBER, motion.root[rows])
    set_floats(message, pb.World.CONTACTS_FIELD_NUMBER, motion.contacts[rows])
    if motion.rotations is not None:
        set_floats(message, pb.World.ROTATIONS_FIELD_NUMBER, motion.rotations[rows])
    for name, degrees in (motion.angles or {}).items():
        set_floats(message.angles.add(name=name), pb.JointAngle.DEGREES_FIELD_NUMBER, degrees[rows])
