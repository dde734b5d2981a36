"""TRC files in pixels, as Sports2D writes them: `..._px_person00.trc`."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Recording
from poselift.formats.readers.tables.rows import Rows

_FIRST_NAME = 2
# A person fills more pixels than metres.
_MOST_METRES = 30.0


def is_trc(text: str) -> bool:
    """Whether a text begins as a TRC file."""
    return text.lstrip().startswith("PathFileType")


def read_trc(text: str) -> Recording:
    """Read the x and y of markers named after joints; a marker at 0, 0 or without numbers is missing.

    The unit in the file is not looked at: Sports2D says metres for pixels, too.

    Raises:
        InvalidFile: the file holds 3D positions, is broken, or its markers are no joints.
    """
    lines = [line.rstrip("\r\n").split("\t") for line in text.strip().splitlines()]
    if len(lines) < 5 or not lines[3][0].lower().startswith("frame"):
        raise InvalidFile("it begins as a TRC file, and has no line of markers that begins with Frame#.")
    markers = [name.strip() for name in lines[3][_FIRST_NAME::3]]
    while markers and not markers[-1]:
        markers.pop()
    rate = _rate(lines)
    rows = [_row(cells, len(markers), line) for line, cells in enumerate(lines[4:], 5) if _is_data(cells)]
    if not rows or not markers:
        raise InvalidFile("it is a TRC file without frames or markers.")
    values = np.stack(rows)
    positions = values[:, _FIRST_NAME:].reshape(len(values), len(markers), 3)
    _check_pixels(positions)
    keypoints = np.where(np.isnan(positions[..., :2]).any(axis=2, keepdims=True), np.nan, positions)
    keypoints[..., 2] = 1.0
    frames = _frame_numbers(values[:, 0])
    recording = Rows(keypoints, markers, frames, times_s=values[:, 1].tolist()).recording()
    if rate and _is_regular(values[:, 1], frames, rate):
        return replace(recording, fps=rate, timestamps_s=None)
    return recording


def _is_data(cells: Sequence[str]) -> bool:
    return bool(cells[0].strip())


def _row(cells: Sequence[str], markers: int, line: int) -> NDArray[np.float64]:
    """Frame, time, and x, y, z of each marker; NaN for an empty cell."""
    width = _FIRST_NAME + 3 * markers
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        cells = cells[:width]
    if not width - 3 <= len(cells) <= width:
        raise InvalidFile(f"line {line} has {len(cells)} cells, not {width} for {markers} markers.")
    numbers = [_number(cell, line) for cell in cells]
    return np.array(numbers + [math.nan] * (width - len(numbers)))


def _number(cell: str, line: int) -> float:
    try:
        return float(cell.strip() or "nan")
    except ValueError:
        raise InvalidFile(f"line {line}: {cell.strip()!r:.40} is no number.") from None


def _frame_numbers(column: NDArray[np.float64]) -> list[int]:
    if not (np.abs(column) < 1e9).all() or (column != np.round(column)).any():
        raise InvalidFile("its frames are not numbered in the first column.", path="Frame#")
    numbers: list[int] = column.astype(int).tolist()
    if len(set(numbers)) < len(numbers):
        raise InvalidFile("a frame number is there twice.", path="Frame#")
    return numbers


def _rate(lines: Sequence[Sequence[str]]) -> float | None:
    """The frame rate in the line of numbers below `DataRate`."""
    try:
        rate = float(dict(zip(lines[1], lines[2], strict=False))["DataRate"])
    except (KeyError, ValueError):
        return None
    return rate if 0 < rate < math.inf else None


def _is_regular(times_s: NDArray[np.float64], frames: Sequence[int], rate: float) -> bool:
    """Whether times are missing, or those that the frame rate says, within a quarter of a frame."""
    expected = (np.array(frames) - frames[0]) / rate
    return bool(np.isnan(times_s).any() or (np.abs(times_s - times_s[0] - expected) < 0.25 / rate).all())


def _check_pixels(positions: NDArray[np.float64]) -> None:
    """Check that positions are those of a picture.

    Raises:
        InvalidFile: they have a depth, or are metres.
    """
    depth = positions[..., 2][~np.isnan(positions[..., 2])]
    if len(depth) and np.ptp(depth) > 0:
        raise InvalidFile(
            "it holds 3D positions; lifting takes keypoints in pixels, such as Sports2D's ..._px_....trc."
        )
    largest = np.nanmax(np.abs(positions[..., :2]), initial=0.0)
    if largest < _MOST_METRES:
        raise InvalidFile(
            f"its positions reach {largest:.3g}, so they are metres; lifting takes pixels, such as Sports2D's "
            "..._px_....trc."
        )
