"""Poses as C3D, the binary format of markers. This module can only be imported if the optional package is installed."""

from collections.abc import Sequence
from pathlib import Path

import ezc3d
import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.markers import MAX_C3D_FRAMES, markers_of
from poselift.formats.writers.track import LiftedTrack

_MM_PER_M = 1000


def write_c3d(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the markers of one person in millimetres, as most C3D files are. Frames are numbered from 1.

    Residuals are 0, which stands for modelled data: readers disagree about the byte in which a residual lies.

    Raises:
        InvalidFile: as `markers_of`. There may be `MAX_C3D_FRAMES` frames.
    """
    (track,) = tracks
    markers = markers_of(track, manifest)
    points = np.ones((4, *markers.positions_m.shape[1::-1]))
    points[:3] = _MM_PER_M * markers.positions_m.transpose(2, 1, 0)
    file = ezc3d.c3d()
    if markers.first_frame + len(markers.positions_m) <= MAX_C3D_FRAMES:  # else from 1
        file["header"]["points"]["first_frame"] = markers.first_frame
    file["data"]["points"] = points
    described = file["parameters"]["POINT"]
    described["RATE"]["value"] = [markers.rate_hz]
    described["UNITS"]["value"] = ["mm"]
    described["LABELS"]["value"] = markers.names
    # As the camera saw somebody who faces it: right is -z, up is y.
    file.add_parameter("POINT", "X_SCREEN", ["-Z"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Y"])
    file.write(str(path))
