"""MPI-INF-3DHP in the npz files of P-STMO. Positions are in millimetres.

data_train_3dhp.npz   data: "S1 Seq1" -> [camera -> {data_2d [frames, 17, 2] px, data_3d [frames, 17, 3] mm}, fps]
data_test_3dhp.npz    data: "TS1" -> {data_2d, data_3d, valid [frames]}, 3D on the scale of the universal skeleton
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import to_screen
from poselift.errors import InvalidDataset
from poselift.skeletons import skeleton
from poselift_training.data.pickled import read_pickled_dict
from poselift_training.data.sequences import Recording, Sequences

_UNIT_M = 0.001
_STUDIO_PX = (2048, 2048)
_OUTDOORS_PX = (1920, 1080)
_OUTDOORS = ("TS5", "TS6")


def read_3dhp_train(root: Path) -> Sequences:
    """Read all training sequences from all their cameras; subject "S1", action "Seq1".

    The recordings mix 25 and 50 fps, which the official loader ignores, so the frame rate is None.

    Raises:
        InvalidDataset: the file is missing or has another structure.
    """
    file = root / "data_train_3dhp.npz"
    recordings = []
    for name, content in read_pickled_dict(file, "data").items():
        subject, _, action = str(name).partition(" ")
        try:
            cameras: Mapping[str, Any] = content[0]
            recordings += [
                _recording(view, subject, action, str(camera), _STUDIO_PX) for camera, view in cameras.items()
            ]
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise InvalidDataset(f"{name!r} in {file} does not hold 2D and 3D positions by camera.") from error
    return Sequences.join(recordings, skeleton("mpi17"), unit_m=_UNIT_M, frame_rate_hz=None)


def read_3dhp_test(root: Path) -> Sequences:
    """Read the six test sequences, each of which is a subject and an action of its own.

    Only frames marked valid are scored, but their windows contain the others too, as in the official evaluation.

    Raises:
        InvalidDataset: the file is missing or has another structure.
    """
    file = root / "data_test_3dhp.npz"
    recordings = []
    for name, view in read_pickled_dict(file, "data").items():
        size_px = _OUTDOORS_PX if name in _OUTDOORS else _STUDIO_PX
        try:
            valid = np.ravel(view["valid"]) == 1
            recordings.append(_recording(view, str(name), str(name), "0", size_px, valid))
        except (IndexError, KeyError, TypeError) as error:
            raise InvalidDataset(f"{name!r} in {file} does not hold data_2d, data_3d and valid.") from error
    return Sequences.join(recordings, skeleton("mpi17"), unit_m=_UNIT_M, frame_rate_hz=None)


def _recording(
    view: Mapping[str, Any],
    subject: str,
    action: str,
    camera: str,
    size_px: tuple[int, int],
    valid: NDArray[np.bool_] | None = None,
) -> Recording:
    return Recording(
        subject=subject,
        action=action,
        camera=camera,
        keypoints=to_screen(np.asarray(view["data_2d"])[..., :2], *size_px),
        joints=np.asarray(view["data_3d"]),
        valid=valid,
    )
