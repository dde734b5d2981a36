"""Keypoints and poses of the caller, as arrays or lists, to lists that can be sent."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias


class SupportsToList(Protocol):
    """An array of NumPy, PyTorch or the like."""

    def tolist(self) -> Any:
        """Nested lists of numbers."""


ArrayLike: TypeAlias = SupportsToList | Sequence[Any]
"""An array, or nested sequences; None or NaN where something is missing."""

TimedFrame: TypeAlias = tuple[ArrayLike | None, float]
"""The keypoints of a frame, and the time in seconds at which it was taken."""

Joint: TypeAlias = list[float] | None
FrameList: TypeAlias = list[Joint] | None


def frames_of(array: ArrayLike) -> list[FrameList]:
    """Copy keypoints or poses [F, J, C]; a frame may be None."""
    return [frame_of(frame) for frame in items_of(array)]


def frame_of(array: ArrayLike | None) -> FrameList:
    """Copy the joints [J, C] of one frame; None where a number of a joint is missing, or all joints are.

    Raises:
        ValueError: it has other dimensions.
    """
    if array is None:
        return None
    joints = [_joint(joint) for joint in items_of(array)]
    return joints if any(joint is not None for joint in joints) else None


def _joint(array: Any) -> Joint:
    if array is None:
        return None
    numbers = items_of(array)
    if any(number is None or math.isnan(number) for number in numbers):
        return None
    return [float(number) for number in numbers]


def items_of(array: Any) -> Sequence[Any]:
    """The items of an array or a list; raises ValueError if it is neither."""
    items = array.tolist() if hasattr(array, "tolist") else array
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise ValueError(f"an array or a list was expected here, not {array!r}")
    return items
