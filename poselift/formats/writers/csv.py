"""Poses as CSV with a header: a row per joint and frame ("tidy"), or a row per frame ("wide")."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.json import DECIMALS
from poselift.formats.writers.table import PersonFrames, person_frames, tidy_columns, wide_columns
from poselift.formats.writers.track import LiftedTrack

_TIME_DECIMALS = 6


def write_csv(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write a row per joint and frame: person, frame, time_s, joint, x_m, y_m, z_m, imputed, expected_error_m.

    With motion in the world there are also world_x_m, world_y_m and world_z_m.
    """
    _write(path, manifest, tracks, tidy_columns)


def write_wide_csv(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write a row per frame: person, frame, time_s, and `<joint>_x_m`, ... `<joint>_expected_error_m` of each joint."""
    _write(path, manifest, tracks, wide_columns)


def _write(
    path: Path,
    manifest: Manifest,
    tracks: Sequence[LiftedTrack],
    columns_of: Callable[[PersonFrames, Manifest], dict[str, NDArray[Any]]],
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, part in enumerate(person_frames(tracks)):
            columns = columns_of(part, manifest)
            if not number:
                writer.writerow(columns)
            writer.writerows(zip(*(_cells(*column) for column in columns.items()), strict=True))


def _cells(name: str, column: NDArray[Any]) -> list[Any]:
    """Numbers in their shortest form; true and false as 1 and 0."""
    if column.dtype.kind == "f":
        decimals = _TIME_DECIMALS if name == "time_s" else DECIMALS
        column = np.round(column.astype(np.float64), decimals) + 0.0  # adding zero turns -0.0 into 0.0
    elif column.dtype.kind == "b":
        column = column.astype(np.int8)
    cells: list[Any] = column.tolist()
    return cells
