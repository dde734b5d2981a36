"""Tables with a row per joint: frame, joint, x, y, score."""

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Recording
from poselift.formats.readers.tables.columns import (
    axis_columns,
    frame_column,
    joint_column,
    time_column,
    track_column,
)
from poselift.formats.readers.tables.rows import Rows, blank, frames_of
from poselift.formats.readers.tables.table import Table
from poselift.formats.readers.tables.wide import refuse_3d


def is_long(table: Table) -> bool:
    """Whether a column holds joints, and others x and y."""
    names = table.header[-1]
    return joint_column(names) is not None and {"x", "y"} <= axis_columns(names).keys()


def read_long(table: Table) -> Recording:
    """Read a row per joint; joints are names or numbers, and frames are counted where no column numbers them.

    Raises:
        InvalidFile: the table is one of 3D poses, the joints are unknown, or one is there twice in a frame.
    """
    names = table.header[-1]
    axes, joint_at, track, time = axis_columns(names), joint_column(names), track_column(names), time_column(names)
    assert joint_at is not None
    refuse_3d([names[axes["x"]]])
    joints = table.column(joint_at)
    identities = [""] * len(joints) if track is None else table.column(track)
    frame_at = frame_column(names)
    frames = _counted(joints, identities) if frame_at is None else frames_of(table, frame_at, None)
    keys = list(zip(frames, identities, strict=True))
    rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    places = {joint: place for place, joint in enumerate(dict.fromkeys(joints))}
    keypoints = blank(len(rows), len(places))
    at = np.array([rows[key] for key in keys]), np.array([places[joint] for joint in joints])
    _check_once(at[0] * len(places) + at[1], joints, frames)
    for column, axis in enumerate(("x", "y", "score")):
        if axis in axes:
            keypoints[(*at, column)] = table.numbers[:, axes[axis]]
    times = None if time is None else dict(zip(frames, (table.numbers[:, time[0]] * time[1]).tolist(), strict=True))
    return Rows(
        keypoints,
        list(places),
        [frame for frame, _ in rows],
        None if track is None else [identity for _, identity in rows],
        None if times is None else [times[frame] for frame, _ in rows],
    ).recording()


def _check_once(cells: NDArray[np.int64], joints: list[str], frames: list[int]) -> None:
    """Check that no cell [R] of one person's joints in one frame is given twice.

    Raises:
        InvalidFile: one is.
    """
    _, first = np.unique(cells, return_index=True)
    if len(first) < len(cells):
        twice = np.setdiff1d(np.arange(len(cells)), first)[0]
        raise InvalidFile(f"joint {joints[twice]:.40} is there twice in frame {frames[twice]} for one person.")


def _counted(joints: list[str], identities: list[str]) -> list[int]:
    """Frame numbers: a joint's first row is of frame 0, its second of frame 1."""
    counted: dict[tuple[str, str], int] = {}
    frames = []
    for key in zip(joints, identities, strict=True):
        frames.append(counted.get(key, 0))
        counted[key] = frames[-1] + 1
    return frames
