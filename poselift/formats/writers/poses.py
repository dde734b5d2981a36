"""The poses of an answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted

# 10 micrometres: far below what any network knows, and half the bytes of a full float.
DECIMALS = 5
AXES = "camera: x right, y down, z forward; relative to the pelvis"
AXES_AS_GIVEN = "camera: x right, y down, z forward; from the origin of the poses that came"


class LiftedTrack(NamedTuple):
    """The poses of one person; `track_id` is None for the only person of a recording.

    `first_frame` is the number that the first pose's frame has in the recording.
    """

    track_id: str | None
    lifted: Lifted
    first_frame: int = 0


def poses_document(manifest: Manifest, tracks: Sequence[LiftedTrack]) -> dict[str, Any]:
    """The document that POST /lift answers with, without its timings.

    A single person without an identity stands at the top; otherwise there is a list of `tracks`. Poses, imputed joints
    and expected errors are arrays, which orjson writes as they are. `first_frame` is told where it is not 0.
    """
    return {
        "model": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "skeleton": manifest.output_skeleton,
        "joint_names": list(manifest.target.joint_names),
        "unit": "m",
        "axes": axes(manifest.task),
        **_people(manifest.task, tracks),
    }


def axes(task: Task) -> str:
    """What the axes of an answer mean, and what its positions are relative to."""
    return AXES if task is Task.LIFT else AXES_AS_GIVEN


def _people(task: Task, tracks: Sequence[LiftedTrack]) -> dict[str, Any]:
    if [track.track_id for track in tracks] == [None]:
        return _person(task, tracks[0])
    return {"tracks": [{"track_id": track.track_id, **_person(task, track)} for track in tracks]}


def _person(task: Task, track: LiftedTrack) -> dict[str, Any]:
    joints, imputed, expected_error_m = track.lifted.joints, track.lifted.imputed, track.lifted.expected_error_m
    poses = np.round(joints, DECIMALS) + joints.dtype.type(0)  # adding zero turns -0.0 into 0.0
    if task is Task.COMPLETE:  # what was given comes back as it was
        poses = np.where(imputed[..., None], poses, joints)
    # orjson takes only arrays that lie in memory in their own order, which not every conversion leaves.
    person: dict[str, Any] = {"poses": np.ascontiguousarray(poses), "imputed": np.ascontiguousarray(imputed)}
    if expected_error_m is not None:
        person["expected_error_m"] = np.ascontiguousarray(np.round(expected_error_m, DECIMALS))
    return person | {"first_frame": track.first_frame} if track.first_frame else person


def dump_json(manifest: Manifest, tracks: Sequence[LiftedTrack]) -> str:
    """`poses_document` as one line of JSON."""
    document = orjson.dumps(
        poses_document(manifest, tracks), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    )
    return document.decode()
