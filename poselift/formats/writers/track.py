"""What is written of each person, and the axes of the positions."""

from typing import NamedTuple

from poselift.lifters.lifter import Task
from poselift.lifting import Lifted

AXES = "camera: x right, y down, z forward; relative to the pelvis"
AXES_AS_GIVEN = "camera: x right, y down, z forward; from the origin of the poses that came"


class LiftedTrack(NamedTuple):
    """The poses of one person.

    `track_id` is None for the only person of a recording without identities; `first_frame` is the number that the first
    pose's frame has in the recording.
    """

    track_id: str | None
    lifted: Lifted
    first_frame: int = 0


def axes(task: Task) -> str:
    """The axes of an answer, and what its positions are relative to, in words."""
    return AXES if task is Task.LIFT else AXES_AS_GIVEN
