"""Poses as JSON: the document that POST /lift and POST /complete answer with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.request import request_document
from poselift.formats.writers.track import LiftedTrack, Timing, axes, common_timing, timing
from poselift.formats.writers.world import world_document
from poselift.input_warnings import InputWarning
from poselift.lifters.lifter import Task

# 10 micrometres: far below the accuracy of any network, and half the bytes of a full float.
DECIMALS = 5


def write_json(
    path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack], warnings: Sequence[InputWarning] = ()
) -> None:
    """Write `poses_document` as one line of JSON, which `poselift complete` reads."""
    document = poses_document(manifest, tracks, warnings)
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


def poses_document(
    manifest: Manifest, tracks: Sequence[LiftedTrack], warnings: Sequence[InputWarning] = ()
) -> dict[str, Any]:
    """The document that POST /lift and POST /complete answer with, without its timings.

    A single person without an identity is at the top level; otherwise there is a list of `tracks`. Poses, imputed
    joints and expected errors are arrays, which orjson writes directly. `first_frame` is written if it is not 0. `fps`,
    or `timestamps_s` where times are uneven, is written if the tracks have times, and into each track if they differ.
    Keypoints are written as `request` if the tracks have them.
    """
    common = common_timing(tracks)
    return {
        "model": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "skeleton": manifest.output_skeleton,
        "joint_names": list(manifest.target.joint_names),
        "unit": "m",
        "axes": axes(manifest.task),
        **_said(common),
        **_people(manifest.task, tracks, has_own_times=common is None),
        "warnings": warnings,
        **({"request": request_document(tracks)} if all(track.sequence is not None for track in tracks) else {}),
    }


def _said(of_tracks: Timing | None) -> dict[str, Any]:
    return {} if of_tracks is None else {key: value for key, value in of_tracks._asdict().items() if value is not None}


def _people(task: Task, tracks: Sequence[LiftedTrack], *, has_own_times: bool) -> dict[str, Any]:
    if [track.track_id for track in tracks] == [None]:
        return _person(task, tracks[0])
    return {
        "tracks": [
            {
                "track_id": track.track_id,
                **_person(task, track),
                **(_said(timing(track)) if has_own_times else {}),
            }
            for track in tracks
        ]
    }


def _person(task: Task, track: LiftedTrack) -> dict[str, Any]:
    joints, imputed, expected_error_m = track.lifted.joints, track.lifted.imputed, track.lifted.expected_error_m
    poses = np.round(joints, DECIMALS) + joints.dtype.type(0)  # adding zero turns -0.0 into 0.0
    if task is Task.COMPLETE:  # given joints are returned exactly, without rounding
        poses = np.where(imputed[..., None], poses, joints)
    # orjson takes only C-contiguous arrays, which not every conversion leaves.
    person: dict[str, Any] = {"poses": np.ascontiguousarray(poses), "imputed": np.ascontiguousarray(imputed)}
    if expected_error_m is not None:
        person["expected_error_m"] = np.ascontiguousarray(np.round(expected_error_m, DECIMALS))
    if track.world is not None:
        person["world"] = world_document(track.world)
    return person | {"first_frame": track.first_frame} if track.first_frame else person
