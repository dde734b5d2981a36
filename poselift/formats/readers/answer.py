"""Read an answer of POST /lift that was kept, to put its poses into the world again."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.camera_fields import CameraFields, PersonFields
from poselift.errors import InvalidFile, InvalidPoses
from poselift.formats.readers.json.json_file import load_json
from poselift.formats.readers.json.request import is_lift_request, read_lift_request
from poselift.formats.readers.keypoint_file import naming
from poselift.formats.readers.recording import Track
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted
from poselift.motion.clip import with_gravity
from poselift.sequence import MAX_POSITION_M
from poselift.skeletons import SKELETONS

_ANSWERED = SKELETONS["h36m17"]


class StoredAnswer(NamedTuple):
    """An answer with its keypoints.

    Attributes:
        manifest: of the network that gave it: its name, version and digest; nothing else of it is known.
        tracks: the poses of the people who are in the request, with their keypoints.
    """

    manifest: Manifest
    tracks: list[LiftedTrack]


def read_answer(
    path: Path,
    keypoints: list[Track] | None = None,
    *,
    camera: CameraFields | None = None,
    about: PersonFields | None = None,
) -> StoredAnswer:
    """Read a JSON file of `poselift lift --world`, or an answer of the server with its `request`.

    Args:
        keypoints: what it was lifted from, if the file does not hold it.
        camera, about: as for `read_keypoints`, of the keypoints that the file holds.
    Raises:
        InvalidFile, InvalidPoses: the message names the file and the field.
    """
    with naming(path):
        document = load_json(path)
        if not isinstance(document, dict) or ("poses" not in document and "tracks" not in document):
            raise InvalidFile("it is no answer of POST /lift: it has neither poses nor tracks.")
        if document.get("skeleton") != _ANSWERED.name:
            raise InvalidFile(f"its poses are of {document.get('skeleton')}, not of {_ANSWERED.name}.", path="skeleton")
        given = _keypoints(document, camera, about) if keypoints is None else keypoints
        answered = {
            person.get("track_id"): _lifted(person, f"tracks[{number}]." if "tracks" in document else "")
            for number, person in enumerate(document.get("tracks", [document]))
        }
        return StoredAnswer(_manifest(document), [_joined(track, answered) for track in given])


def _keypoints(document: dict[str, Any], camera: CameraFields | None, about: PersonFields | None) -> list[Track]:
    request: Any = document.get("request")
    if not is_lift_request(request):
        raise InvalidFile(
            "it does not hold the keypoints; give their file (--keypoints), or write it by `poselift lift --world`.",
            path="request",
        )
    return read_lift_request(request).overridden(None, None, None, None, camera, about).tracks()


def _lifted(person: dict[str, Any], prefix: str) -> Lifted:
    joints = _numbers(person.get("poses"), f"{prefix}poses", (_ANSWERED.n_joints, 3), MAX_POSITION_M)
    shape = joints.shape[:2]
    imputed = person.get("imputed")
    errors = person.get("expected_error_m")
    lifted = Lifted(
        joints.astype(np.float32),
        np.zeros(shape, np.bool_) if imputed is None else _numbers(imputed, f"{prefix}imputed", shape[1:], 1) > 0,
        None
        if errors is None
        else _numbers(errors, f"{prefix}expected_error_m", shape[1:], MAX_POSITION_M).astype(np.float32),
    )
    return _with_gravity(lifted, person.get("world"), f"{prefix}world.gravity.network")


def _with_gravity(lifted: Lifted, world: Any, field: str) -> Lifted:
    """The poses with what their network told of gravity, if it did."""
    try:
        told = (world or {})["gravity"]["network"]
    except (TypeError, KeyError):
        return lifted
    try:
        return with_gravity(lifted, told["direction"], float(told["uncertainty_deg"]), field)
    except (TypeError, KeyError, ValueError):
        raise InvalidPoses(f"{field} must have a direction of three numbers and uncertainty_deg.", path=field) from None


def _numbers(values: Any, field: str, shape: tuple[int, ...], most: float) -> NDArray[np.float64]:
    """Numbers [F, *shape]."""
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape[1:] != shape or not len(numbers) or not (np.abs(numbers) <= most).all():
        raise InvalidPoses(f"{field} must be numbers [frames, {str(shape)[1:-1].strip(',')}].", path=field)
    return numbers


def _joined(track: Track, answered: dict[Any, Lifted]) -> LiftedTrack:
    lifted = answered.get(track.track_id)
    if lifted is None and len(answered) == 1 and track.track_id is None:
        (lifted,) = answered.values()
    if lifted is None:
        raise InvalidFile(f"it has no poses of {track.track_id!r}, who is in the keypoints.", path="tracks")
    times_s = track.sequence.times_s
    if len(lifted.joints) != len(times_s):
        raise InvalidFile(f"it has {len(lifted.joints)} poses for keypoints of {len(times_s)} frames.", path="poses")
    return LiftedTrack(track.track_id, lifted, track.first_frame, times_s, sequence=track.sequence)


def _manifest(document: dict[str, Any]) -> Manifest:
    """What is written of a network, as far as the answer tells it; the rest has values that nobody reads."""
    model = document.get("model")
    if not isinstance(model, dict) or not {"name", "version", "digest"} <= model.keys():
        raise InvalidFile("its model must have name, version and digest.", path="model")
    try:
        return Manifest(
            name=model["name"],
            version=model["version"],
            weights_sha256=model["digest"],
            system="pstmo",
            network={},
            input_skeleton=_ANSWERED.name,
            output_skeleton=_ANSWERED.name,
            frame_rate_hz=50,
            temporal_stride=1,
            missing_joints="token",
        )
    except ValueError:
        raise InvalidFile("its model must have a name, a version and a digest.", path="model") from None
