"""Poses as a NumPy archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack, axes


def write_npz(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write `poses` [F, J, 3] in metres, `imputed` [F, J], and the names that describe them.

    `expected_error_m` [F, J] is written if the network estimates it, and `first_frame` if it is not 0. With identities
    the arrays are named `<track_id>/poses` and so on, for each of `track_ids`.
    """
    arrays: dict[str, NDArray[Any]] = {
        "model": np.array(f"{manifest.name}@{manifest.version}"),
        "digest": np.array(manifest.digest),
        "skeleton": np.array(manifest.output_skeleton),
        "joint_names": np.array(manifest.target.joint_names),
        "axes": np.array(axes(manifest.task)),
        "track_ids": np.array([track.track_id for track in tracks if track.track_id is not None], dtype=np.str_),
    }
    for track_id, lifted, first_frame in tracks:
        prefix = "" if track_id is None else f"{track_id}/"
        arrays[f"{prefix}poses"] = lifted.joints
        arrays[f"{prefix}imputed"] = lifted.imputed
        if lifted.expected_error_m is not None:
            arrays[f"{prefix}expected_error_m"] = lifted.expected_error_m
        if first_frame:
            arrays[f"{prefix}first_frame"] = np.array(first_frame)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
