"""Tables with a row per person and frame, and columns such as nose_x, nose_y, nose_score."""

import numpy as np

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Recording
from poselift.formats.readers.tables.columns import in_metres, joint_columns
from poselift.formats.readers.tables.rows import rows_of
from poselift.formats.readers.tables.table import Table

_FEWEST = 4


def is_wide(table: Table) -> bool:
    """Whether columns are named after joints and axes."""
    return len(joint_columns(table.header[-1])) >= _FEWEST


def read_wide(table: Table) -> Recording:
    """Read columns of joints by name (`left_hip_x`, `LHip.x`, `x_left_hip`) or number (`x0`, `kp_0_x`).

    SLEAP, MediaPipe's users and many scripts write them. Columns of frame numbers, times and identities are known by
    their names.

    Raises:
        InvalidFile: the columns are those of 3D poses, or the joints are unknown.
    """
    names = table.header[-1]
    columns = joint_columns(names)
    refuse_3d([names[axes["x"]] for axes in columns.values()])
    keypoints = np.ones((len(table.numbers), len(columns), 3))
    for joint, axes in enumerate(columns.values()):
        for place, axis in enumerate(("x", "y", "score")):
            if axis in axes:
                keypoints[:, joint, place] = table.numbers[:, axes[axis]]
    return rows_of(table, keypoints, list(columns)).recording()


def refuse_3d(names: list[str]) -> None:
    """Refuse columns in metres, which are those of 3D poses.

    Raises:
        InvalidFile: they are.
    """
    if in_metres(names):
        raise InvalidFile(
            f"its columns, such as {names[0]}, hold 3D positions; lifting takes keypoints in pixels of the picture."
        )
