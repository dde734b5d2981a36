"""Motion in the world to write: random, but smooth."""

import numpy as np

from poselift.motion.rotations import forward_kinematics, rest_offsets
from poselift.motion.world import Gravity, WorldMotion
from tests.unit.formats.writers.lifted_tracks import track_of

BONES = np.array([0, *[0.13, 0.44, 0.45] * 2, 0.23, 0.26, 0.12, 0.11, *[0.15, 0.28, 0.25] * 2])
HIPS_M = 0.95
GRAVITY = Gravity(np.array([0.0, 1, 0]), 0.0, given=True)


def motion_of(rotations, root, up_axis="y"):
    """A motion with these rotations, in world axes with this axis up; the arguments have y up."""
    poses = forward_kinematics(root, rotations, rest_offsets(BONES))
    if up_axis == "z":
        poses, root, rotations = z_up(poses), z_up(root), None
    return WorldMotion(
        poses=poses,
        root=root,
        contacts=np.zeros((len(poses), 2)),
        scale=1.0,
        height_m=1.75,
        gravity=GRAVITY,
        focal_px=1000.0,
        focal_given=True,
        bones=BONES,
        up_axis=up_axis,
        rotations=rotations,
        angles={"left_knee_flexion": np.linspace(0, 60, len(poses))},
    )


def z_up(points):
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def random_rotations(frames, seed=0, slow=8):
    """Quaternions [frames, 17, 4] that reach every orientation within some dozen frames."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(frames + slow, 17, 4))
    smooth = np.stack([noise[n : n + slow].sum(0) for n in range(frames)])
    return smooth / np.linalg.norm(smooth, axis=-1, keepdims=True)


def moving_track(track_id=None, *, frames=7, seed=0, times_s=None, up_axis="y"):
    steps = np.random.default_rng(seed).normal(0, 0.02, (frames, 3))
    root = np.cumsum(steps, axis=0) + np.array([0, HIPS_M, 0])
    world = motion_of(random_rotations(frames, seed), root, up_axis)
    return track_of(track_id, frames=frames, times_s=times_s)._replace(world=world)


def t_pose(frames=1, up_axis="y"):
    rotations = np.zeros((frames, 17, 4))
    rotations[..., 0] = 1
    return track_of(frames=frames)._replace(world=motion_of(rotations, np.tile([0, HIPS_M, 0], (frames, 1)), up_axis))
