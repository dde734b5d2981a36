"""A recorded person before a camera whose lens, place and attitude are known."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from poselift.camera import gravity_from_angles
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

H36M = skeleton("h36m17")
DATA = Path(__file__).parents[2] / "data"
FPS = 50.0
WIDTH_PX, HEIGHT_PX, FOCAL_PX = 1920, 1080, 1500.0


class Filmed(NamedTuple):
    """What the camera saw, and the truth.

    Attributes:
        joints: [F, 17, 3] metres, camera axes.
        poses: [F, 17, 3] the same relative to the pelvis.
        down: the direction of falling, camera axes.
        world: [F, 17, 3] metres, z up.
    """

    sequence: Sequence
    joints: np.ndarray
    poses: np.ndarray
    down: np.ndarray
    world: np.ndarray


def dancer():
    """[F, 17, 3] metres, z up."""
    return np.load(DATA / "cmu_05_15_cut.npz")["pos17"].astype(np.float64)


def filmed(world, pitch_deg=0.0, roll_deg=0.0, distance_m=6.0):
    """The person from the side of the y axis."""
    down = np.array(gravity_from_angles(pitch_deg, roll_deg))
    ahead = np.array([0.0, 0.0, 1.0]) - down * down[2]
    ahead /= np.linalg.norm(ahead)
    axes = np.stack([np.cross(down, ahead), ahead, -down], axis=-1)  # columns: the world's x, y, z before the camera
    joints = (world - world[:, 0].mean(axis=0)) @ axes.T + np.array([0.0, 0.0, distance_m])
    pixels = joints[..., :2] / joints[..., 2:] * FOCAL_PX + (WIDTH_PX / 2, HEIGHT_PX / 2)
    keypoints = np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], axis=-1).astype(np.float32)
    sequence = Sequence(keypoints, H36M, WIDTH_PX, HEIGHT_PX, Sequence.times_at(FPS, len(world)))
    return Filmed(sequence, joints, joints - joints[:, :1], down, world)


def angle_deg(one, other):
    """Angle between two vectors."""
    return np.degrees(np.arccos(np.clip(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other), -1, 1)))
