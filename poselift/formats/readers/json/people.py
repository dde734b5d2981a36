"""One person of a frame, in the objects that detectors write."""

from typing import Any

from poselift.errors import InvalidFile, InvalidKeypoints
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.joint_names import joints_named, skeleton_of
from poselift.formats.readers.recording import Person
from poselift.skeletons import skeleton

# Where a person's keypoints are: OpenPose, AlphaPose's dictionaries, Kinetics-Skeleton, all others.
_KEYS = ("pose_keypoints_2d", "joints", "pose", "keypoints")
# Where their scores are, if not among them.
_SCORES = ("keypoint_scores", "score", "scores")
_IDENTITIES = ("track_id", "person_id", "instance_id", "id", "idx")
_SCORES_OF_A_JOINT = ("score", "visibility", "visible", "confidence", "conf", "likelihood")
_COCO = skeleton("coco17")


def is_person(entry: Any) -> bool:
    """Whether an object is a person as a detector writes one: with keypoints, but no frames of them."""
    if not isinstance(entry, dict):
        return False
    key = next((key for key in _KEYS if key in entry), None)
    match entry[key] if key else None:
        case {"x": _, "y": _}:  # Ultralytics
            return True
        case []:
            return key != "keypoints"
        case [dict(joint), *_]:  # detectors in browsers
            return "position" in joint or {"x", "y"} <= joint.keys()
        case [list(), *_] | [None, *_]:  # MMPose
            return isinstance(entry.get("keypoint_scores"), list)
        case [int() | float(), *_]:
            return "image_id" not in entry
    return False


def person_of(entry: dict[str, Any], field: str) -> Person | None:
    """Read a person; None for one of whom only a face or a hand was seen.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    key = next(key for key in _KEYS if key in entry)
    keypoints, path = entry[key], f"{field}.{key}" if field else key
    if keypoints == []:
        return None
    scores_key = next((name for name in _SCORES if isinstance(entry.get(name), list)), None)
    identity = identity_of(entry, field)
    if isinstance(keypoints, dict):
        return Person(identity, _of_columns(keypoints, path))
    if isinstance(keypoints, list) and isinstance(keypoints[0], dict):
        return Person(identity, of_objects(keypoints, path))
    if scores_key is not None:
        rows = _with_scores(keypoints, entry[scores_key], path, f"{field}.{scores_key}")
        return Person(identity, Detection.of_rows(rows, path))
    of_list = (
        Detection.of_rows
        if isinstance(keypoints, list) and isinstance(keypoints[0], list | None)
        else Detection.of_triples
    )
    return Person(identity, of_list(keypoints, path))


def _of_columns(columns: dict[str, Any], field: str) -> Detection:
    """Ultralytics' lists of x, of y, and of scores."""
    scores = next((columns[key] for key in ("visible", *_SCORES_OF_A_JOINT) if columns.get(key)), None)
    x, y = columns.get("x"), columns.get("y")
    if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
        raise InvalidKeypoints(f"{field} must have as many x as y.", path=field)
    rows = [[one, other] for one, other in zip(x, y, strict=True)]
    return Detection.of_rows(rows if scores is None else _with_scores(rows, scores, field, f"{field}.visible"), field)


def _with_scores(positions: Any, scores: Any, field: str, scores_field: str) -> list[Any]:
    """Rows `[x, y, score]`; positions may be rows, or one flat list."""
    if isinstance(positions, list) and not isinstance(positions[0], list | None) and len(positions) % 2 == 0:
        positions = [positions[first : first + 2] for first in range(0, len(positions), 2)]
    if not isinstance(positions, list) or not isinstance(scores, list) or len(positions) != len(scores):
        raise InvalidKeypoints(f"{scores_field} must be one number per keypoint.", path=scores_field)
    rows = []
    for joint, (position, score) in enumerate(zip(positions, scores, strict=True)):
        if position is not None and (not isinstance(position, list) or len(position) != 2):
            path = f"{field}[{joint}]"
            raise InvalidKeypoints(f"{path} must be [x, y], not {position!r:.60}.", path=path)
        rows.append(None if position is None else [*position, score])
    return rows


def of_objects(objects: list[Any], field: str) -> Detection:
    """Objects with x, y, a score or a visibility, and perhaps a name; `part` and `position` in old PoseNet's.

    Raises:
        InvalidKeypoints: the message names the joint.
    """
    rows, names = [], []
    for joint, one in enumerate(objects):
        position = one.get("position", one) if isinstance(one, dict) else one
        if one is not None and not isinstance(position, dict):
            path = f"{field}[{joint}]"
            raise InvalidKeypoints(f"{path} must be an object with x and y, not {one!r:.60}.", path=path)
        one = one or {}
        names.append(one.get("name") or one.get("part"))
        score = next((one[key] for key in _SCORES_OF_A_JOINT if key in one), 1.0)
        rows.append([position.get("x"), position.get("y"), score] if position else None)
    skeleton, rows = _in_order(rows, names)
    return Detection.of_rows(rows, field)._replace(skeleton=skeleton)


def _in_order(rows: list[Any], names: list[Any]) -> tuple[str | None, list[Any]]:
    """The skeleton that names of joints are of, and the rows in its order; as they are without names."""
    if not all(isinstance(name, str) for name in names):
        return None, rows
    joints = [joints_named(name)[:1] for name in names]
    if all(joint and joint[0] in _COCO.joint_names for joint in joints):
        places = {joint: place for place, (joint,) in enumerate(joints)}
        skeleton, found = _COCO, [places.get(joint) for joint in _COCO.joint_names]
    else:
        skeleton, found = skeleton_of(names)
    return skeleton.name, [None if place is None else rows[place] for place in found]


def identity_of(entry: dict[str, Any], field: str, keys: tuple[str, ...] = _IDENTITIES) -> str | None:
    """The identity that a tracker gave a person, a number or a text, alone or in lists; None without one.

    Raises:
        InvalidFile: it is a number that is not whole.
    """
    for key in keys:
        identity = entry.get(key)
        while isinstance(identity, list) and len(identity) == 1:
            identity = identity[0]
        if isinstance(identity, str) and identity:
            return identity
        if isinstance(identity, int | float) and not isinstance(identity, bool):
            if isinstance(identity, float) and not identity.is_integer():
                raise InvalidFile(f"{field}.{key} must be a whole number, not {identity}.", path=f"{field}.{key}")
            return str(int(identity)) if identity >= 0 else None
    return None
