"""Motion in the world in protobuf."""

from poselift.formats.writers.world import WORLD_AXES
from poselift.motion.world import WorldMotion
from poselift.pb import lifter_pb2 as pb
from poselift_service.codecs.protobuf.fields import set_floats


def fill_world(message: pb.World, motion: WorldMotion) -> None:
    """Write the motion of a person."""
    message.axes, message.unit = WORLD_AXES[motion.up_axis], "m"
    set_floats(message, pb.World.JOINTS_FIELD_NUMBER, motion.poses)
    set_floats(message, pb.World.ROOT_FIELD_NUMBER, motion.root)
    set_floats(message, pb.World.CONTACTS_FIELD_NUMBER, motion.contacts)
    message.scale, message.height_m = motion.scale, motion.height_m
    gravity = motion.gravity
    message.gravity.direction.extend(gravity.direction.tolist())
    message.gravity.uncertainty_deg, message.gravity.given = gravity.uncertainty_deg, gravity.given
    message.camera.focal_px, message.camera.given = motion.focal_px, motion.focal_given
    if motion.rotations is not None:
        set_floats(message, pb.World.ROTATIONS_FIELD_NUMBER, motion.rotations)
    for name, degrees in (motion.angles or {}).items():
        set_floats(message.angles.add(name=name), pb.JointAngle.DEGREES_FIELD_NUMBER, degrees)
