"""Poses as a table: one row per joint and frame."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack, times_of

# Tables always say who somebody is, because tools drop rows without a group.
_ONLY_PERSON = "1"
WORLD = ("world_x_m", "world_y_m", "world_z_m")
"""Columns of motion in the world, where it was asked for."""
# Frames whose rows are made at a time.
_FRAMES = 5000


class PersonFrames(NamedTuple):
    """Consecutive frames of one person.

    Attributes:
        person: identity, or "1" for the only person of a recording without identities.
        frame: [F] numbers of the frames in the recording, from 0.
        time_s: [F] seconds from the person's first pose on.
        joints: [F, J, 3] metres.
        imputed: [F, J].
        expected_error_m: [F, J], None if the network does not estimate it.
        world: [F, J, 3] metres, None if nobody asked for motion in the world.
    """

    person: str
    frame: NDArray[np.int64]
    time_s: NDArray[np.float64]
    joints: NDArray[np.floating]
    imputed: NDArray[np.bool_]
    expected_error_m: NDArray[np.float32] | None
    world: NDArray[np.float64] | None


def person_frames(tracks: Sequence[LiftedTrack]) -> Iterator[PersonFrames]:
    """The frames of each track in turn, in parts of some thousand frames."""
    for track in tracks:
        times_s, lifted = times_of(track), track.lifted
        for first in range(0, len(times_s), _FRAMES):
            part = slice(first, first + _FRAMES)
            yield PersonFrames(
                person_of(track),
                track.first_frame + np.arange(len(times_s), dtype=np.int64)[part],
                times_s[part],
                lifted.joints[part],
                lifted.imputed[part],
                None if lifted.expected_error_m is None else lifted.expected_error_m[part],
                None if track.world is None else track.world.poses[part],
            )


def person_of(track: LiftedTrack) -> str:
    """Whose the rows of a track are: its identity, or "1" for the only person of a recording without identities."""
    return _ONLY_PERSON if track.track_id is None else track.track_id


def tidy_columns(part: PersonFrames, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """The columns of a table with one row per joint and frame."""
    frames, joints = part.imputed.shape
    columns: dict[str, NDArray[Any]] = {
        "person": np.full(frames * joints, part.person, dtype=object),
        "frame": part.frame.repeat(joints),
        "time_s": part.time_s.repeat(joints),
        "joint": np.tile(np.array(manifest.target.joint_names, dtype=object), frames),
        **dict(zip(("x_m", "y_m", "z_m"), part.joints.reshape(-1, 3).T, strict=True)),
        "imputed": part.imputed.ravel(),
    }
    if part.expected_error_m is not None:
        columns["expected_error_m"] = part.expected_error_m.ravel()
    if part.world is not None:
        columns |= zip(WORLD, part.world.reshape(-1, 3).T, strict=True)
    return columns


def wide_columns(part: PersonFrames, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """The columns of a table with one row per frame."""
    columns: dict[str, NDArray[Any]] = {
        "person": np.full(len(part.frame), part.person, dtype=object),
        "frame": part.frame,
        "time_s": part.time_s,
    }
    for number, joint in enumerate(manifest.target.joint_names):
        for axis, positions in zip("xyz", part.joints[:, number].T, strict=True):
            columns[f"{joint}_{axis}_m"] = positions
        columns[f"{joint}_imputed"] = part.imputed[:, number]
        if part.expected_error_m is not None:
            columns[f"{joint}_expected_error_m"] = part.expected_error_m[:, number]
        if part.world is not None:
            columns |= zip((f"{joint}_{column}" for column in WORLD), part.world[:, number].T, strict=True)
    return columns
