"""Arrays of frames: from the text of a JSON array to NumPy, without a Python object per number.

Without its numbers, the text of an array of so many frames is known in advance, but for joints and frames that are
null. So the shape is checked by a comparison of texts, and simdjson reads the numbers without their brackets. Only
arrays in which some joints have a score and others have none, or in which numbers are null or NaN, are read through
Python's lists, several times as slowly.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from poselift.skeletons import Skeleton

_SCORE_WHEN_OMITTED = 1.0
_NUMBER_TYPES = {float, int, type(None)}
# Every character of a number, and JSON's white space.
_NUMBERS_AND_SPACE = b"0123456789.eE+- \t\n\r"
_NULL, _FRAME, _NULL_FRAME = b"null", b"F", b"N"
# What Python's json writes, though it is no JSON. A valid array has no texts in which it could stand.
_NAN = b"NaN"
_LETTERS = re.compile(rb"\[[FN](?:,[FN])*\]")
# Replaces null where simdjson needs a number; in a request it would be out of range.
_NULL_NUMBER = 1e308

_parser = simdjson.Parser()


@dataclass(frozen=True)
class ArrayField:
    """A field that holds an array of frames.

    Attributes:
        name: of the field.
        missing: the three numbers of a joint that is null.
        score_is_optional: whether a joint may have two numbers.
    """

    name: str
    missing: tuple[float, float, float]
    score_is_optional: bool

    @cached_property
    def key(self) -> bytes:
        """The name as a document has it, in quotes."""
        return f'"{self.name}"'.encode()


KEYPOINTS = ArrayField("keypoints", (np.nan, np.nan, 0.0), score_is_optional=True)
POSES = ArrayField("poses", (np.nan, np.nan, np.nan), score_is_optional=False)


def read_frames(text: bytes, field: ArrayField, skeleton: Skeleton) -> NDArray[np.float64] | None:
    """Read the text of an array of frames.

    Returns:
        [F, J, 3], with `field.missing` for null joints and frames and for joints of which a number is null or NaN; None
        when the text is not JSON or no such array.
    """
    shape = text.translate(None, _NUMBERS_AND_SPACE)
    for numbers_per_joint in (3, 2) if field.score_is_optional else (3,):
        layout = _layout(skeleton.n_joints, numbers_per_joint)
        if (letters := layout.frames_in(shape)) is not None:
            if (frames := layout.read(text, letters, field)) is not None:
                return frames
            break
    try:
        return frames_from_lists(orjson.loads(text.replace(_NAN, _NULL)), field, skeleton)
    except orjson.JSONDecodeError:
        return None


class _Layout:
    """The layout of arrays in which all joints have the same count of numbers, or are null."""

    def __init__(self, joints: int, numbers_per_joint: int) -> None:
        joint = b"[%b]" % (b"," * (numbers_per_joint - 1))
        either = b"(?:%b|null)" % re.escape(joint)
        self._joint = joint
        self._frame = b"[%b]" % b",".join([joint] * joints)
        self._frame_with_nulls = re.compile(rb"\[%b(?:,%b){%d}\]" % (either, either, joints - 1))
        self._null = orjson.dumps([_NULL_NUMBER] * numbers_per_joint)
        self._joints_per_frame = joints
        self._numbers_per_joint = numbers_per_joint

    def frames_in(self, shape: bytes) -> bytes | None:
        """One letter for each frame of an array, F or, where it is null, N; None when it has another layout.

        Args:
            shape: text of the array without numbers and space.
        """
        has_nulls = b"n" in shape
        filled = shape.replace(_NULL, self._joint) if has_nulls else shape
        count = len(filled) // (len(self._frame) + 1)
        if count and filled == b"[%b]" % b",".join([self._frame] * count):
            return _FRAME * count
        if not has_nulls:
            return None
        letters = self._frame_with_nulls.sub(_FRAME, shape).replace(_NULL, _NULL_FRAME)
        return letters[1:-1:2] if _LETTERS.fullmatch(letters) else None

    def read(self, text: bytes, frames: bytes, field: ArrayField) -> NDArray[np.float64] | None:
        """The frames of an array [F, J, 3]; None when the text is not JSON, or a number in it is no double.

        Args:
            frames: as `frames_in` gives them.
        """
        nulls = text.count(_NULL)
        try:
            array = _parser.parse(text.replace(_NULL, self._null) if nulls else text)
            assert isinstance(array, simdjson.Array), "the text begins with a bracket"
            numbers = np.frombuffer(array.as_buffer(of_type="d"), np.float64)
        except (ValueError, RuntimeError):
            return None
        if _NULL_FRAME not in frames:
            return self._joints(numbers, nulls, field)
        is_null = np.frombuffer(frames, np.uint8) == ord(_NULL_FRAME)
        # The replacement of a null frame has as many numbers as that of a null joint.
        sizes = np.where(is_null, self._numbers_per_joint, self._joints_per_frame * self._numbers_per_joint)
        given = self._joints(numbers[np.repeat(~is_null, sizes)], nulls - frames.count(_NULL_FRAME), field)
        if given is None:
            return None
        read = np.empty((len(frames), self._joints_per_frame, 3))
        read[...] = field.missing
        read[~is_null] = given
        return read

    def _joints(self, numbers: NDArray[np.float64], nulls: int, field: ArrayField) -> NDArray[np.float64] | None:
        """Frames without null frames [F, J, 3], from their numbers; None when they hold more nulls than the text."""
        joints = numbers.reshape(-1, self._joints_per_frame, self._numbers_per_joint)
        if self._numbers_per_joint == 2:
            joints = np.concatenate([joints, np.full((*joints.shape[:2], 1), _SCORE_WHEN_OMITTED)], axis=-1)
        if nulls:
            is_null = joints[..., 0] == _NULL_NUMBER
            if np.count_nonzero(is_null) != nulls:
                return None
            joints[is_null] = field.missing
        return joints


@lru_cache(maxsize=16)
def _layout(joints: int, numbers_per_joint: int) -> _Layout:
    return _Layout(joints, numbers_per_joint)


def frames_from_lists(frames: object, field: ArrayField, skeleton: Skeleton) -> NDArray[np.float64] | None:
    """[F, J, 3] from parsed JSON; None when that is not an array of frames."""
    undetected = [None] * skeleton.n_joints
    if not isinstance(frames, list) or not frames:
        return None
    try:
        detected = [undetected if frame is None else frame for frame in frames]
        if set(map(len, detected)) != {skeleton.n_joints}:
            return None
        joints = [field.missing if joint is None else joint for joint in chain.from_iterable(detected)]
        numbers_per_joint = set(map(len, joints))
        if not numbers_per_joint <= ({2, 3} if field.score_is_optional else {3}):
            return None
        if 2 in numbers_per_joint:
            joints = [joint if len(joint) == 3 else (*joint, _SCORE_WHEN_OMITTED) for joint in joints]
        numbers = list(chain.from_iterable(joints))
    except TypeError:  # something in there is no list
        return None
    # Strings and objects are iterable, too, but do not yield numbers.
    if not set(map(type, numbers)) <= _NUMBER_TYPES:
        return None
    array = np.array(numbers, np.float64).reshape(len(frames), skeleton.n_joints, 3)
    array[np.isnan(array).any(axis=-1)] = field.missing
    return array
