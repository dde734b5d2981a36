"""Keypoints and poses out of JSON, fast when they are what they should be.

A schema looks at every number by itself, which takes far longer than lifting a frame. So keypoints are taken out of a
document as whole arrays, and the schema sees a placeholder. Where they are not what the contract says they stay in the
document, and the schema says what is wrong with which of them. Poses likewise.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.skeletons import SKELETONS, Skeleton

Arrays = dict[str, NDArray[np.float64]]

_SCORE_WHEN_NONE_IS_GIVEN = 1.0
_PLACEHOLDER = [None]
_NUMBERS = {float, int}


@dataclass(frozen=True)
class Kind:
    """What a document holds of each joint.

    Attributes:
        name: of the fields.
        null: the three numbers of a joint that is null.
        score_may_lack: whether two numbers are enough.
    """

    name: str
    null: tuple[float, float, float]
    score_may_lack: bool


KEYPOINTS = Kind("keypoints", (np.nan, np.nan, 0.0), score_may_lack=True)
POSES = Kind("poses", (np.nan, np.nan, np.nan), score_may_lack=False)


def take_out(body: bytes, kind: Kind, source: Skeleton | None = None) -> tuple[bytes, Arrays]:
    """Take the keypoints (or poses) out of a document that may hold them as `keypoints` and as `tracks[i].keypoints`.

    Args:
        source: their skeleton; None for the one that the document names.
    Returns:
        The document with one null frame in their place, and by path arrays [F, J, 3], x and y NaN where missing.
        Whatever cannot be taken stays as it is.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body, {}
    if not isinstance(document, dict):
        return body, {}
    named = document.get("skeleton")
    if source is None and isinstance(named, str):
        source = SKELETONS.get(named)
    if source is None:
        return body, {}
    tracks = document.get("tracks")
    name = kind.name
    holders: dict[str, Any] = {name: document}
    for number, track in enumerate(tracks if isinstance(tracks, list) else ()):
        holders[f"tracks[{number}].{name}"] = track
    arrays: Arrays = {}
    for path, holder in holders.items():
        if isinstance(holder, dict) and (array := joint_array(holder.get(name), kind, source)) is not None:
            arrays[path] = array
            holder[name] = _PLACEHOLDER
    try:
        return orjson.dumps(document), arrays
    except TypeError:  # nested too deep, which the schema says better
        return body, {}


def joint_array(frames: object, kind: Kind, source: Skeleton) -> NDArray[np.float64] | None:
    """Keypoints (or poses) [F, J, 3] from lists of frames of joints, as JSON has them; None when these are no such
    lists."""
    undetected = [None] * source.n_joints
    if not isinstance(frames, list) or not frames:
        return None
    try:
        whole = [undetected if frame is None else frame for frame in frames]
        if set(map(len, whole)) != {source.n_joints}:
            return None
        joints = [kind.null if joint is None else joint for joint in chain.from_iterable(whole)]
        numbers_per_joint = set(map(len, joints))
        if not numbers_per_joint <= ({2, 3} if kind.score_may_lack else {3}):
            return None
        if 2 in numbers_per_joint:
            joints = [joint if len(joint) == 3 else (*joint, _SCORE_WHEN_NONE_IS_GIVEN) for joint in joints]
        numbers = list(chain.from_iterable(joints))
    except TypeError:  # something in there is no list
        return None
    # Whatever else can be iterated over, a string or an object, gives something else than numbers.
    if not set(map(type, numbers)) <= _NUMBERS:
        return None
    return np.fromiter(numbers, np.float64, len(numbers)).reshape(len(frames), source.n_joints, 3)
