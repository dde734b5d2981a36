"""The two archives of VideoPose3D: the keypoints of videos of one's own, and the detections they are made of."""

from typing import Any, NoReturn

import numpy as np

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.archive import Arrays
from poselift.formats.readers.archives.slots import people_in_slots
from poselift.formats.readers.detection import Detection, to_joints
from poselift.formats.readers.recording import PeopleByFrame, Person, Recording, size_px

_SKELETONS = {"coco": "coco17", "h36m": "h36m17"}


def is_videopose3d(arrays: Arrays) -> bool:
    """Whether an archive is a `data_2d_custom_*.npz`."""
    return "positions_2d" in arrays


def read_videopose3d(arrays: Arrays) -> Recording:
    """Read `positions_2d`, {video: {"custom": [array [F, J, 2]]}}, with skeleton and picture size out of `metadata`.

    Raises:
        InvalidFile: it holds several videos, several arrays of one, or something else.
    """
    videos = _item(arrays, "positions_2d")
    if not isinstance(videos, dict) or not videos:
        raise InvalidFile("positions_2d must be a dictionary of videos.", path="positions_2d")
    if len(videos) > 1:
        _refuse_several(videos, "videos", "positions_2d.item()[video]['custom'][0]")
    ((video, actions),) = videos.items()
    if not isinstance(actions, dict) or not actions:
        raise InvalidFile(f"positions_2d[{video!r:.60}] must be a dictionary.", path="positions_2d")
    if len(actions) > 1:
        _refuse_several(actions, f"recordings of {video}", f"positions_2d.item()[{video!r:.60}][recording][0]")
    ((action, views),) = actions.items()
    field = f"positions_2d[{video!r:.60}][{action!r:.60}]"
    if not isinstance(views, list | tuple) or not views:
        raise InvalidFile(f"{field} must be a list of arrays.", path="positions_2d")
    if len(views) > 1:
        _refuse_several(range(len(views)), f"arrays of {video}", f"{field}[number]")
    keypoints = views[0]
    if (
        not isinstance(keypoints, np.ndarray)
        or keypoints.dtype.kind not in "fiu"
        or keypoints.ndim != 3
        or keypoints.shape[2] not in (2, 3)
        or not keypoints.size
    ):
        raise InvalidFile(f"{field}[0] must be an array of numbers [frames, joints, 2].", path="positions_2d")
    metadata = _item(arrays, "metadata") if "metadata" in arrays else {}
    layout = metadata.get("layout_name") if isinstance(metadata, dict) else None
    return Recording(
        people_in_slots(keypoints, f"{field}[0]"),
        skeleton=_SKELETONS.get(layout) if isinstance(layout, str) else None,
        image_size=_size(metadata, str(video)),
    )


def _refuse_several(names: Any, what: str, place: str) -> NoReturn:
    listed = ", ".join(str(name)[:60] for name in list(names)[:10])
    raise InvalidFile(
        f"it holds {len(names)} {what}: {listed}. Lift one at a time: np.savez(path, keypoints={place}).",
        path="positions_2d",
    )


def _size(metadata: Any, video: str) -> tuple[float, float] | None:
    sizes = metadata.get("video_metadata") if isinstance(metadata, dict) else None
    size = sizes.get(video) if isinstance(sizes, dict) else None
    if not isinstance(size, dict) or size.get("w") is None or size.get("h") is None:
        return None
    return size_px([size["w"], size["h"]], f"metadata['video_metadata'][{video!r:.60}]")


def _item(arrays: Arrays, key: str) -> Any:
    """The object in an array of one object."""
    array = arrays[key]
    return array.item() if array.size == 1 else None


def is_detectron_archive(arrays: Arrays) -> bool:
    """Whether an archive holds the detections of Detectron as VideoPose3D keeps them."""
    return {"boxes", "keypoints", "segments"} <= set(arrays)


def read_detectron_archive(arrays: Arrays) -> Recording:
    """Read `keypoints`, for each frame a list by class; that of people, the second, is [P, 4, 17]: x, y, logit, score.

    Raises:
        InvalidFile: it is something else.
    """
    frames = []
    for frame, classes in enumerate(arrays["keypoints"]):
        field = f"keypoints[{frame}]"
        people = classes[1] if isinstance(classes, list | np.ndarray) and len(classes) == 2 else None
        if isinstance(people, list) and not people:
            people = np.empty((0, 4, 17))
        if not isinstance(people, np.ndarray) or people.shape[1:] != (4, 17) or people.dtype.kind not in "fiu":
            raise InvalidFile(f"{field}[1] must be an array of numbers [people, 4, 17].", path=field)
        joints = to_joints(people[:, [0, 1, 3]].swapaxes(1, 2), f"{field}[1]")
        frames.append([Person(None, Detection(f"{field}[1][{index}]", one)) for index, one in enumerate(joints)])
    metadata = _item(arrays, "metadata") if "metadata" in arrays else None
    size = [metadata.get("w"), metadata.get("h")] if isinstance(metadata, dict) else [None]
    return Recording(
        PeopleByFrame(frames),
        skeleton="coco17",
        image_size=None if None in size else size_px(size, "metadata"),
    )
