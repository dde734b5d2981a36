"""What the page shows: poses, the keypoints that they were lifted from if known, and the skeletons of both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.formats.readers.archives.archive import is_npz, opened
from poselift.formats.readers.json.json_file import load_json
from poselift.formats.readers.pose_recording import PoseTrack
from poselift.sequence import constant_rate_hz
from poselift.skeletons import SKELETONS

_OF_JOINTS = ("imputed", "expected_error_m")


def dump_view(
    name: str, answer: dict[str, Any], *, forms: Sequence[str], request: dict[str, Any] | None = None
) -> bytes:
    """The document that the page asks for as `result.json`.

    Args:
        name: of the file.
        answer: as of POST /lift, with `fps` or `timestamps_s`.
        forms: that the poses can be saved in.
        request: the keypoints as a body of POST /lift.
    """
    used = {answer["skeleton"], *([] if request is None else [request["skeleton"]])}
    skeletons = [
        {"name": each.name, "joint_names": each.joint_names, "parents": each.parents}
        for each in SKELETONS.values()
        if each.name in used
    ]
    first = answer.get("tracks", [answer])[0]
    document = {
        "name": name,
        "answer": answer,
        "request": request,
        "first_frame": first.get("first_frame", 0),
        "skeletons": skeletons,
        "forms": forms,
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def poses_of_file(path: Path, tracks: Sequence[PoseTrack]) -> dict[str, Any]:
    """The poses of a file as an answer of POST /lift, with what it says about its joints.

    Args:
        path: of a JSON document or an npz archive.
        tracks: what `read_poses` has read from it.
    """
    said = _said_in_npz(path, tracks) if is_npz(path) else _said_in_json(load_json(path))
    people = [
        {"track_id": track.track_id, "poses": track.sequence.joints, **_fitting(of_joints, track)}
        for track, of_joints in zip(tracks, said["people"], strict=True)
    ]
    first = tracks[0].sequence
    rate_hz = constant_rate_hz(max((track.sequence.times_s for track in tracks), key=len))
    return {
        "model": said["model"],
        "skeleton": first.skeleton.name,
        "joint_names": first.skeleton.joint_names,
        **({"timestamps_s": first.times_s} if rate_hz is None else {"fps": rate_hz}),
        "tracks": people,
        "warnings": [],
    }


def _fitting(of_joints: dict[str, Any], track: PoseTrack) -> dict[str, NDArray[Any]]:
    """What is said of each joint in each frame; joints without a position count as imputed."""
    shape = track.sequence.joints.shape[:2]
    arrays = {key: np.asarray(of_joints[key]) for key in _OF_JOINTS if key in of_joints}
    fitting = {key: array for key, array in arrays.items() if array.shape == shape and array.dtype.kind in "bf"}
    return {"imputed": track.sequence.missing} | fitting


def _said_in_json(document: dict[str, Any]) -> dict[str, Any]:
    return {"model": document.get("model"), "people": document.get("tracks", [document])}


def _said_in_npz(path: Path, tracks: Sequence[PoseTrack]) -> dict[str, Any]:
    with opened(path) as archive:
        prefixes = ["" if track.track_id is None else f"{track.track_id}/" for track in tracks]
        people = [{key: archive[prefix + key] for key in _OF_JOINTS if prefix + key in archive} for prefix in prefixes]
        name, _, version = str(archive["model"]).partition("@") if "model" in archive else ("", "", "")
    return {"model": {"name": name, "version": version} if name else None, "people": people}
