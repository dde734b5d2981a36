"""The rig in motion: offsets of its T-pose, and rotations of its joints over time."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poselift.formats.writers.rig.quaternions import inverse, product, slerp, without_sign_changes
from poselift.formats.writers.rig.skeleton import H36M, JOINTS, rig_ends, rig_offsets
from poselift.formats.writers.track import LiftedTrack, times_of, world_of
from poselift.motion.rotations import global_rotations, joint_rotations, rest_offsets
from poselift.motion.world import WorldMotion, y_up

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Animation:
    """The motion of one person on the rig: y up, metres.

    Attributes:
        times_s: [F].
        root: [F, 3] the position of the root.
        rotations: [F, K, 4] w, x, y, z, of each joint relative to the T-pose, in its parent's axes; signs change
            nowhere between neighbouring frames.
        offsets: [K, 3] from each joint's parent, in the T-pose; 0 for the root.
        ends: [3] from the outermost joints to the ends of their bones, by name.
        height_m: stature.
    """

    times_s: Array
    root: Array
    rotations: Array
    offsets: Array
    ends: dict[str, Array]
    height_m: float

    def at(self, times_s: Array) -> "Animation":
        """The same motion at other times [F'], interpolated: rotations along the shorter arc."""
        upper = np.clip(np.searchsorted(self.times_s, times_s), 1, len(self.times_s) - 1)
        before, after = self.times_s[upper - 1], self.times_s[upper]
        weight = np.clip((times_s - before) / (after - before), 0, 1)[:, None]
        root = (1 - weight) * self.root[upper - 1] + weight * self.root[upper]
        rotations = slerp(self.rotations[upper - 1], self.rotations[upper], weight[..., None])
        return replace(self, times_s=times_s, root=root, rotations=without_sign_changes(rotations))


def animation_of(track: LiftedTrack) -> Animation:
    """Put the motion of a person on the rig.

    Raises:
        InvalidFile: the track has no motion in the world.
    """
    motion, times_s = world_of(track), times_of(track)
    bone_axes = global_rotations(rotations_of(motion, times_s))
    axes = bone_axes[:, [H36M.joint_names.index(joint.axes) for joint in JOINTS]]
    local = axes.copy()
    local[:, 1:] = product(inverse(axes[:, [joint.parent for joint in JOINTS[1:]]]), axes[:, 1:])
    rest = rest_offsets(motion.bones)
    return Animation(
        times_s,
        y_up(motion.root, motion.up_axis),
        without_sign_changes(local),
        rig_offsets(rest, motion.height_m),
        rig_ends(rest, motion.height_m),
        motion.height_m,
    )


def rotations_of(motion: WorldMotion, times_s: Array) -> Array:
    """Rotations [F, 17, 4] with y up: those of the motion, or worked out here if it has others or none."""
    if motion.rotations is not None and motion.up_axis == "y":
        return motion.rotations
    fps = 1 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    return joint_rotations(y_up(motion.poses, motion.up_axis), fps)
