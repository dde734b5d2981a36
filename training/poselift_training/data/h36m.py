"""Human3.6M in the npz files of VideoPose3D.

    data_3d_h36m.npz          positions_3d: subject -> action -> [frames, 32, 3], world coordinates, metres
    data_2d_h36m_<name>.npz   positions_2d: subject -> action -> one [frames, 17, 2 or more] per camera, pixels

`h36m_cameras.json` beside this module holds the cameras of all subjects, as in VideoPose3D: translations in
millimetres, orientations as camera-to-world quaternions w, x, y, z; camera i belongs to the i-th 2D array.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import rotation_from_quaternion, screen_intrinsics, to_screen, world_to_camera
from poselift.errors import InvalidDataset
from poselift.skeletons import skeleton
from poselift_training.data.pickled import read_pickled_dict
from poselift_training.data.sequences import Recording, Sequences

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")

_KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_FRAME_RATE_HZ = 50.0


class _Camera(NamedTuple):
    name: str
    width_px: int
    height_px: int
    intrinsics: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation_m: NDArray[np.float64]


def read_h36m(root: Path, keypoints: str, subjects: Sequence[str]) -> Sequences:
    """Read the sequences of some subjects from all four cameras, in the order of the 2D file.

    Args:
        keypoints: name of the detections to read: "gt", "cpn_ft_h36m_dbb", ...
        subjects: `TRAIN_SUBJECTS`, `TEST_SUBJECTS` or any of them.
    Returns:
        Sequences at 50 Hz, in metres. Actions lose their trial suffix ("Walking 1" is Walking), and 2D arrays are cut
        to the length of the motion capture.
    Raises:
        InvalidDataset: a file, subject, action or camera is missing, or a 2D array is shorter than the motion capture.
    """
    file_2d = root / f"data_2d_h36m_{keypoints}.npz"
    positions_3d = read_pickled_dict(root / "data_3d_h36m.npz", "positions_3d")
    positions_2d = read_pickled_dict(file_2d, "positions_2d")
    recordings: list[Recording] = []
    for subject in subjects:
        if subject not in positions_2d or subject not in positions_3d or subject not in _cameras():
            raise InvalidDataset(f"Subject {subject} is not in the Human3.6M files of {root}.", path="subjects")
        if positions_2d[subject].keys() != positions_3d[subject].keys():
            action = min(positions_2d[subject].keys() ^ positions_3d[subject].keys())
            raise InvalidDataset(
                f"Action {action!r} of {subject} is in only one of {file_2d.name} and data_3d_h36m.npz."
            )
        for action, views in positions_2d[subject].items():
            recordings += _recordings(subject, action, np.asarray(positions_3d[subject][action]), views)
    return Sequences.join(recordings, skeleton("h36m17"), unit_m=1.0, frame_rate_hz=_FRAME_RATE_HZ)


def _recordings(subject: str, action: str, world: NDArray[np.float32], views: Sequence[Any]) -> Iterator[Recording]:
    """One trial as seen by each camera."""
    cameras = _cameras()[subject]
    if world.ndim != 3 or world.shape[1:] != (32, 3):
        raise InvalidDataset(f"{subject} {action!r} has 3D positions {list(world.shape)}, not [frames, 32, 3].")
    if len(views) != len(cameras):
        raise InvalidDataset(f"{subject} {action!r} has 2D positions of {len(views)} cameras, not {len(cameras)}.")
    joints = world[:, _KEPT_JOINTS].astype(np.float64)
    for camera, view in zip(cameras, views, strict=True):
        if len(view) < len(world):
            raise InvalidDataset(
                f"{subject} {action!r}, camera {camera.name}: 2D positions for only {len(view)} of {len(world)} frames."
            )
        pixels = np.asarray(view)[: len(world), ..., :2]
        yield Recording(
            subject=subject,
            action=action.partition(" ")[0],
            camera=camera.name,
            keypoints=to_screen(pixels, camera.width_px, camera.height_px).astype(np.float32),
            joints=world_to_camera(joints, camera.rotation, camera.translation_m),
            intrinsics=camera.intrinsics,
        )


@cache
def _cameras() -> dict[str, list[_Camera]]:
    """Cameras of each subject with published motion capture; the other subjects have no camera orientations."""
    stored = json.loads(Path(__file__).with_name("h36m_cameras.json").read_text())
    return {
        subject: [_camera(*parameters) for parameters in zip(stored["intrinsic"], extrinsics, strict=True)]
        for subject, extrinsics in stored["extrinsic"].items()
        if all("orientation" in extrinsic for extrinsic in extrinsics)
    }


def _camera(intrinsic: dict[str, Any], extrinsic: dict[str, Any]) -> _Camera:
    width_px, height_px = intrinsic["res_w"], intrinsic["res_h"]
    return _Camera(
        name=intrinsic["id"],
        width_px=width_px,
        height_px=height_px,
        intrinsics=screen_intrinsics(
            np.asarray(intrinsic["focal_length"]),
            np.asarray(intrinsic["center"]),
            np.asarray(intrinsic["radial_distortion"]),
            np.asarray(intrinsic["tangential_distortion"]),
            width_px,
            height_px,
        ),
        rotation=rotation_from_quaternion(np.asarray(extrinsic["orientation"])),
        translation_m=np.asarray(extrinsic["translation"]) / 1000,
    )
