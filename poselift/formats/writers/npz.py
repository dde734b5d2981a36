"""Poses as a NumPy archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack, Timing, axes, common_timing, timing
from poselift.formats.writers.world import WORLD_AXES
from poselift.motion.world import WorldMotion


def write_npz(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write `poses` [F, J, 3] in metres, `imputed` [F, J], and the names that describe them.

    `expected_error_m` [F, J] is written if the network estimates it, and `first_frame` if it is not 0. With identities
    the arrays are named `<track_id>/poses` and so on, for each of `track_ids`. `fps`, or `timestamps_s` [F] where times
    are uneven, is that of all people, unless each has its own. Motion in the world is `world_poses` [F, J, 3],
    `world_contacts` [F, 2], `world_gravity` [3], `world_axes`, and `world_rotations` [F, J, 4] if they were asked for.
    `read_pose_npz` reads it.
    """
    arrays: dict[str, NDArray[Any]] = {
        "model": np.array(f"{manifest.name}@{manifest.version}"),
        "digest": np.array(manifest.digest),
        "skeleton": np.array(manifest.output_skeleton),
        "joint_names": np.array(manifest.target.joint_names),
        "unit": np.array("m"),
        "axes": np.array(axes(manifest.task)),
        "track_ids": np.array([track.track_id for track in tracks if track.track_id is not None], dtype=np.str_),
    }
    common = common_timing(tracks)
    arrays |= _said(common)
    for track in tracks:
        person = _person(track) | (_said(timing(track)) if common is None else {})
        prefix = "" if track.track_id is None else f"{track.track_id}/"
        arrays |= {f"{prefix}{key}": array for key, array in person.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _said(of_tracks: Timing | None) -> dict[str, NDArray[Any]]:
    said = {} if of_tracks is None else of_tracks._asdict()
    return {key: np.array(value) for key, value in said.items() if value is not None}


def _person(track: LiftedTrack) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"poses": track.lifted.joints, "imputed": track.lifted.imputed}
    if track.lifted.expected_error_m is not None:
        arrays["expected_error_m"] = track.lifted.expected_error_m
    if track.world is not None:
        arrays |= _world(track.world)
    if track.first_frame:
        arrays["first_frame"] = np.array(track.first_frame)
    return arrays


def _world(motion: WorldMotion) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "world_axes": np.array(WORLD_AXES[motion.up_axis]),
        "world_poses": motion.poses,
        "world_contacts": motion.contacts,
        "world_gravity": motion.gravity.direction,
    }
    return arrays if motion.rotations is None else arrays | {"world_rotations": motion.rotations}
