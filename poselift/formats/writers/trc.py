"""Poses as TRC, the text format of markers that OpenSim reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.markers import Markers, markers_of
from poselift.formats.writers.track import LiftedTrack

_HEADER = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"


def write_trc(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the markers of one person in metres. Frames are numbered from 1, times start at 0.

    Raises:
        InvalidFile: as `markers_of`.
    """
    (track,) = tracks
    markers = markers_of(track, manifest)
    frames, joints = markers.positions_m.shape[:2]
    row = "\t".join(["%d", "%.6f", *["%.6f"] * 3 * joints]) + "\n"
    numbers = np.arange(frames)
    columns = (markers.first_frame + 1 + numbers, numbers / markers.rate_hz, markers.positions_m.reshape(frames, -1))
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_head(path.name, markers))
        file.writelines(row % (number, time_s, *places) for number, time_s, places in zip(*columns, strict=True))


def _head(name: str, markers: Markers) -> str:
    frames, joints = markers.positions_m.shape[:2]
    rate, start = f"{markers.rate_hz:.9g}", markers.first_frame + 1
    lines: list[list[object]] = [
        ["PathFileType", 4, "(X/Y/Z)", name],
        [*_HEADER.split()],
        [rate, rate, frames, joints, "m", rate, start, frames],
        ["Frame#", "Time", *(cell for marker in markers.names for cell in (marker, "", ""))],
        ["", "", *(f"{axis}{number}" for number in range(1, joints + 1) for axis in "XYZ")],
    ]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)
