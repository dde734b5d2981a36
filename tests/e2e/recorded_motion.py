"""A recorded dance on the rig, for programs that are not Python."""

from pathlib import Path

import numpy as np

from poselift.formats.writers.track import LiftedTrack
from poselift.motion.bones import constant_bones, stature
from poselift.motion.rotations import joint_rotations
from poselift.motion.world import Gravity, WorldMotion, y_up
from tests.unit.formats.writers.lifted_tracks import track_of
from tests.unit.training.data.recorded import clip

FPS = 50


def recorded_track() -> LiftedTrack:
    """One second at 50 frames per second, with what is written of motion in the world."""
    poses, bones = constant_bones(y_up(clip().joints, "z"))
    world = WorldMotion(
        poses=poses,
        root=poses[:, 0],
        contacts=np.zeros((len(poses), 2)),
        scale=1.0,
        height_m=stature(bones),
        gravity=Gravity(np.array([0.0, 1, 0]), 0.0, given=True),
        focal_px=1000.0,
        focal_given=True,
        bones=bones,
        rotations=joint_rotations(poses, FPS),
    )
    return track_of(frames=len(poses), times_s=np.arange(len(poses)) / FPS)._replace(world=world)


def write_rig_files(folder: Path, track: LiftedTrack) -> None:
    """Write `dance.bvh`, `dance.mixamo.bvh`, `dance.lafan1.bvh` and `dance.glb`."""
    from poselift.formats.writers.pose_file import form_of, write_poses
    from tests.unit.formats.writers.lifted_tracks import MANIFEST

    for ending in ("bvh", "mixamo.bvh", "lafan1.bvh", "glb"):
        write_poses(folder / f"dance.{ending}", form_of(ending), MANIFEST, [track])
