"""Angles of joints over time as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.rig.animation import rotations_of
from poselift.formats.writers.table import person_of
from poselift.formats.writers.track import LiftedTrack, times_of, world_of
from poselift.motion.angles import joint_angles
from poselift.motion.world import y_up

_TIME_DECIMALS = 6
_DECIMALS = 3


def write_angles_csv(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write a row per frame: person, frame, time_s, and the degrees of each angle, such as `left_knee_flexion_deg`.

    Raises:
        InvalidFile: the tracks have no motion in the world.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, track in enumerate(tracks):
            angles = _angles(track)
            times_s = np.round(times_of(track), _TIME_DECIMALS)
            if not number:
                writer.writerow(["person", "frame", "time_s", *(f"{name}_deg" for name in angles)])
            degrees = np.round(np.stack(list(angles.values()), axis=1), _DECIMALS) + 0.0
            frames = range(track.first_frame, track.first_frame + len(times_s))
            rows = zip(frames, times_s.tolist(), degrees.tolist(), strict=True)
            writer.writerows([person_of(track), frame, time_s, *row] for frame, time_s, row in rows)


def _angles(track: LiftedTrack) -> dict[str, NDArray[np.float64]]:
    """The angles of a motion, worked out here if nobody has asked for them."""
    motion = world_of(track)
    if motion.angles is not None:
        return motion.angles
    return joint_angles(y_up(motion.poses, motion.up_axis), rotations_of(motion, times_of(track)))
