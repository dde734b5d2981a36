"""Poses for tests of the rig: a recorded person, and the T-pose with some bones turned."""

from pathlib import Path

import numpy as np

from poselift.motion.rotations import forward_kinematics, rest_offsets
from poselift.skeletons import skeleton

H36M = skeleton("h36m17")
JOINT = {joint: index for index, joint in enumerate(H36M.joint_names)}
BONES = np.array([0, 0.13, 0.44, 0.45, 0.13, 0.44, 0.45, 0.23, 0.26, 0.12, 0.12, 0.15, 0.28, 0.25, 0.15, 0.28, 0.25])


def recorded():
    """A person who dances: [50, 17, 3] metres at 50 fps, y up."""
    z_up = np.load(Path(__file__).parents[2] / "data" / "cmu_05_15_cut.npz")["pos17"].astype(np.float64)
    return np.stack([z_up[..., 0], z_up[..., 2], -z_up[..., 1]], axis=-1)


def posed(**turns_deg):
    """The T-pose [F, 17, 3] with bones turned about an axis of their parents: `left_knee=("x", degrees [F])`."""
    frames = max((np.size(degrees) for _, degrees in turns_deg.values()), default=1)
    rotations = np.zeros((frames, 17, 4))
    rotations[..., 0] = 1
    for joint, (axis, degrees) in turns_deg.items():
        half = np.radians(np.broadcast_to(degrees, frames)) / 2
        rotations[:, JOINT[joint], 0], rotations[:, JOINT[joint], 1 + "xyz".index(axis)] = np.cos(half), np.sin(half)
    return forward_kinematics(np.zeros((frames, 3)), rotations, rest_offsets(BONES))
