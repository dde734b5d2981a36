"""One person in one frame, from what files hold: rows, flat lists, arrays of numbers."""

import math
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints
from poselift.missing import HIGHEST_SCORE, LOWEST_SCORE, MISSING, mark_missing
from poselift.sequence import MAX_POSITION_PX, MAX_TIMESTAMP_S

_NUMBER_TYPES = {float, int, type(None)}
_LOWEST = np.array([-MAX_POSITION_PX, -MAX_POSITION_PX, LOWEST_SCORE])
_HIGHEST = np.array([MAX_POSITION_PX, MAX_POSITION_PX, HIGHEST_SCORE])


class Detection(NamedTuple):
    """One person in one frame: joints [J, 3] as `mark_missing` returns them, and the field they were read from.

    `skeleton` is the one that the names of the joints tell; None where they have none.
    """

    field: str
    joints: NDArray[np.float32]
    skeleton: str | None = None

    @classmethod
    def of_rows(cls, rows: Any, field: str) -> "Detection":
        """Read a list of `[x, y, score]`, `[x, y]` or None. A number that is None or NaN makes its joint missing.

        Raises:
            InvalidKeypoints: the message names the row or the number.
        """
        if not isinstance(rows, list) or not rows:
            found = "an empty list" if rows == [] else f"{rows!r:.40}"
            raise InvalidKeypoints(f"{field} must be a list of joints, not {found}.", path=field)
        joints = _rectangular(rows)
        if joints is None:
            joints = np.array([_keypoint(row, f"{field}[{joint}]") for joint, row in enumerate(rows)])
        return cls(field, to_joints(joints, field))

    @classmethod
    def of_triples(cls, flat: Any, field: str) -> "Detection":
        """Read the flat list `x, y, score, x, ...` of OpenPose and COCO; otherwise as `of_rows`."""
        if not isinstance(flat, list) or not flat or len(flat) % 3:
            found = f"one of {len(flat)}" if isinstance(flat, list) else f"{flat!r:.40}"
            raise InvalidKeypoints(f"{field} must be a list of x, y, score for each joint, not {found}.", path=field)
        if not set(map(type, flat)) <= _NUMBER_TYPES:
            for index, value in enumerate(flat):
                _coordinate(value, f"{field}[{index}]")
        return cls.of_rows([flat[first : first + 3] for first in range(0, len(flat), 3)], field)


@np.errstate(invalid="ignore")  # NaN of any kind is a missing joint, also the one that processors signal
def to_joints(numbers: NDArray[Any], field: str) -> NDArray[np.float32]:
    """Numbers [..., J, 2 or 3] as joints [..., J, 3], as `mark_missing` returns them; a score that is left out is 1.

    Args:
        field: the name of the array.
    Raises:
        InvalidKeypoints: a number is too large; the message names the joint.
    """
    joints = np.asarray(numbers, dtype=np.float64)
    if joints.shape[-1] == 2:
        joints = np.concatenate([joints, np.ones_like(joints[..., :1])], axis=-1)
    wrong = (joints < _LOWEST) | (joints > _HIGHEST)  # NaN is not
    if wrong.any():
        *joint, column = np.argwhere(wrong)[0].tolist()
        _refuse(joints[(*joint, slice(None))].tolist(), column, field + "".join(f"[{index}]" for index in joint))
    return mark_missing(joints.astype(np.float32))


def _refuse(row: list[float], column: int, field: str) -> NoReturn:
    if column < 2:
        raise InvalidKeypoints(f"{field} is no place in or near a picture: {row[0]:g}, {row[1]:g}.", path=field)
    path = f"{field}[2]"
    raise InvalidKeypoints(f"{path} must be a score in [0, 1], and not in percent; it is {row[2]:g}.", path=path)


def _rectangular(rows: list[Any]) -> NDArray[np.float64] | None:
    """Numbers [J, 2 or 3] of rows that all have as many, or are None; None for other rows."""
    widths = {len(row) if type(row) is list else 0 for row in rows if row is not None}
    if widths not in ({2}, {3}):
        return None
    width = widths.pop()
    values = list(chain.from_iterable([None] * width if row is None else row for row in rows))
    if not set(map(type, values)) <= _NUMBER_TYPES:
        return None
    try:
        return np.array(values, np.float64).reshape(-1, width)
    except OverflowError:  # an integer of hundreds of digits
        return None


def _keypoint(row: Any, field: str) -> tuple[float, float, float]:
    if row is None:
        return MISSING
    if not isinstance(row, list) or len(row) not in (2, 3):
        found = f"an object with {', '.join(row)[:60]}" if isinstance(row, dict) and row else f"{row!r:.60}"
        raise InvalidKeypoints(f"{field} must be [x, y, score], [x, y] or null, not {found}.", path=field)
    x, y, *score = (_coordinate(value, f"{field}[{column}]") for column, value in enumerate(row))
    return x, y, score[0] if score else 1.0


def _coordinate(value: Any, field: str) -> float:
    """A number, NaN where it is None. Raises as `number`."""
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return math.nan if is_missing else number(value, field)


def number(value: Any, field: str) -> float:
    """A finite number of at most the size of a time of day in seconds.

    Raises:
        InvalidKeypoints: the value is something else; the message names the field.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_TIMESTAMP_S:
        raise InvalidKeypoints(f"{field} must be a number of sensible size, not {value!r:.40}.", path=field)
    return float(value)
