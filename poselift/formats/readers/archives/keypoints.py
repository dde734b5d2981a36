"""Keypoints as arrays: NumPy archives, single arrays, dictionaries of arrays in pickles, and their layouts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.archive import (
    Arrays,
    check_numbers,
    header,
    opened,
    read_array,
    require,
    scalar,
    timestamps,
)
from poselift.formats.readers.archives.pickled import MAX_BYTES, load_pickled
from poselift.formats.readers.archives.slots import people_in_slots
from poselift.formats.readers.archives.videopose3d import (
    is_detectron_archive,
    is_videopose3d,
    read_detectron_archive,
    read_videopose3d,
)
from poselift.formats.readers.joint_counts import skeleton_of_numbers
from poselift.formats.readers.recording import Recording, name, positive, size_px
from poselift.input_warnings import InputWarning
from poselift.skeletons import SKELETONS

_KEYPOINTS = ("keypoints", "kpts", "keypoints_2d", "keypoints2d")
_SCORES = ("scores", "keypoint_scores", "keypoints_scores", "confidence", "confidences", "keypoint_score", "conf")
_FEWEST_JOINTS = 12
"""An array without a name that says so is one of keypoints only with the joints of arms and legs."""
# A share of more of the scores lower than this are no scores: heat maps are slightly negative where nobody is.
_LOWEST_SCORE, _MANY = -0.1, 0.1
_MMACTION = ("img_shape", "original_shape", "total_frames", "frame_dir", "label")
_OTHERS = ("skeleton", "fps", "image_size", "timestamps_s")


def read_keypoint_npz(path: Path) -> Recording:
    """Read an npz archive in any of the layouts of this module. An array that was not used is named in a warning.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    with opened(path) as archive:
        return _read(archive)


def is_npy(path: Path) -> bool:
    """Whether a file is one NumPy array."""
    return _head(path) == b"\x93NUMPY"


def read_keypoint_npy(path: Path) -> Recording:
    """Read one array of keypoints, [F, J, 2 or 3], or with an axis of people.

    Raises:
        InvalidFile: it is another array.
    """
    with path.open("rb") as file:
        return _read({"keypoints": read_array(file, path.stat().st_size, "keypoints")})


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later."""
    head = _head(path)
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def read_keypoint_pickle(path: Path) -> Recording:
    """Read a dictionary of arrays out of a pickle, which is not run; PYSKL and MMAction2 keep such files.

    Raises:
        InvalidFile: it is something else; the message names it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InvalidFile(f"it has more than the {MAX_BYTES} bytes that are read of a pickle.")
    content = load_pickled(path.read_bytes())
    if isinstance(content, np.ndarray):
        content = {"keypoints": content}
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        raise InvalidFile(
            f"it is a data set of {len(content['annotations'])} videos; save one of its annotations as a file of its "
            "own: np.savez(path, keypoints=annotation['keypoint'], scores=annotation['keypoint_score'])."
        )
    if not isinstance(content, dict):
        raise InvalidFile("it is a pickle without a dictionary of arrays, such as keypoints [frames, joints, 2 or 3].")
    return _read({str(key): _as_array(value) for key, value in content.items()})


def _as_array(value: Any) -> NDArray[Any]:
    """A value of a pickle as an array: a short list of numbers or texts, and everything else as an object."""
    if isinstance(value, np.ndarray):
        return value
    plain = int | float | str
    if isinstance(value, plain) or (isinstance(value, list | tuple) and all(isinstance(part, plain) for part in value)):
        return np.array(value)
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def _read(arrays: Arrays) -> Recording:
    for is_layout, read in _LAYOUTS:
        if is_layout(arrays):
            return read(arrays)
    return read_arrays(arrays)


def is_reconstruction(arrays: Arrays) -> bool:
    """Whether an archive is what the demos of several transformer lifters keep."""
    return "reconstruction" in arrays


def read_reconstruction(arrays: Arrays) -> Recording:
    """Read `reconstruction` [P, F, 17, 2 or 3]: people, frames, joints in Human3.6M's order."""
    return _recording(arrays, "reconstruction", people_first=True, skeleton="h36m17")


def is_mmaction(arrays: Arrays) -> bool:
    """Whether arrays are those of PYSKL and MMAction2."""
    return "keypoint" in arrays


def read_mmaction(arrays: Arrays) -> Recording:
    """Read `keypoint` [P, F, J, 2] and `keypoint_score` [P, F, J]; `img_shape` is height and width."""
    height_width = scalar(arrays, "img_shape")
    size = size_px(list(height_width)[::-1] if isinstance(height_width, list | tuple) else None, "img_shape")
    recording = _recording(arrays, "keypoint", people_first=True, image_size=size, known=_MMACTION)
    shape, _ = header(arrays, "keypoint")
    if recording.skeleton is not None or shape[-2] != SKELETONS["coco17"].n_joints:
        return recording
    guess = "it does not say its skeleton; its 17 joints were taken for those of COCO (--skeleton, if they are others)."
    return replace(
        recording, skeleton="coco17", warnings=(*recording.warnings, InputWarning("skeleton_guessed", guess))
    )


def read_arrays(arrays: Arrays) -> Recording:
    """Read `keypoints` [F, J, 2 or 3], or [F, P, J, 2 or 3] with an axis of people; a NaN is a missing joint.

    Beside them there may be scores of their own [F, J], `skeleton` (text), `fps`, `image_size` (width, height) and
    `timestamps_s` [F].

    Raises:
        InvalidFile, InvalidKeypoints: the message names the array.
    """
    known = next((key for key in _KEYPOINTS if key in arrays), None)
    if known is None and any(key.rpartition("/")[2] == "poses" for key in arrays):
        raise InvalidFile("it holds 3D poses, not keypoints; poselift complete reads these.", path="poses")
    return _recording(arrays, known or _only_positions(arrays) or require(arrays, *_KEYPOINTS), people_first=None)


def _only_positions(arrays: Arrays) -> str | None:
    """The one array that can be positions in a picture, [..., J, 2], whatever its name; None if there are others."""
    found = []
    for key in arrays:
        shape, dtype = header(arrays, key)
        if len(shape) in (3, 4) and shape[-1] == 2 and shape[-2] >= _FEWEST_JOINTS and dtype.kind in "fiu":
            found.append(key)
    return found[0] if len(found) == 1 else None


_LAYOUTS: tuple[tuple[Callable[[Arrays], bool], Callable[[Arrays], Recording]], ...] = (
    (is_videopose3d, read_videopose3d),
    (is_detectron_archive, read_detectron_archive),
    (is_reconstruction, read_reconstruction),
    (is_mmaction, read_mmaction),
)


@np.errstate(invalid="ignore")  # as in `to_joints`
def _recording(
    arrays: Arrays,
    key: str,
    *,
    people_first: bool | None,
    skeleton: str | None = None,
    image_size: tuple[float, float] | None = None,
    known: tuple[str, ...] = (),
) -> Recording:
    """A recording of one array of keypoints, with what stands beside it.

    Args:
        people_first: whether the axis of people comes before that of frames; None if the longer of both is the frames'.
        known: further arrays that were used.
    """
    keypoints = arrays[key]
    check_numbers(keypoints, key, (3, 4), (2, 3))
    _check_2d(keypoints, key)
    scores = next((name for name in _SCORES if name in arrays), None)
    if scores is not None:
        keypoints = _with_scores(keypoints, arrays[scores], key, scores)
    if keypoints.ndim == 4 and (people_first or (people_first is None and len(keypoints) < keypoints.shape[1])):
        keypoints = keypoints.swapaxes(0, 1)
    people = people_in_slots(keypoints, key)
    if skeleton is None:
        skeleton = skeleton_of_numbers(person.detection for frame in people.frames for person in frame)
    return Recording(
        people,
        skeleton=name(scalar(arrays, "skeleton"), "skeleton") or skeleton,
        fps=positive(scalar(arrays, "fps"), "fps"),
        image_size=size_px(scalar(arrays, "image_size"), "image_size") or image_size,
        timestamps_s=timestamps(arrays),
        warnings=_unused(arrays, {key, scores, *_OTHERS, *known}),
    )


def _check_2d(keypoints: NDArray[Any], key: str) -> None:
    """Check that a third number of joints is a score, not a depth.

    Raises:
        InvalidFile: many are far below 0.
    """
    if keypoints.shape[-1] == 3 and np.count_nonzero(keypoints[..., 2] < _LOWEST_SCORE) > keypoints.size / 3 * _MANY:
        raise InvalidFile(
            f"{key} holds 3D positions: the third number of a joint reaches {np.nanmin(keypoints[..., 2]):.3g}, and is "
            "no score. Lifting takes keypoints in pixels, [frames, joints, 2 or 3].",
            path=key,
        )


def _with_scores(keypoints: NDArray[Any], scores: NDArray[Any], key: str, scores_key: str) -> NDArray[Any]:
    """Keypoints [..., J, 3] out of positions and an array of scores; axes of length 1 may be left out of it."""
    shape = keypoints.shape[:-1]
    if scores.dtype.kind not in "fiub" or [n for n in scores.shape if n > 1] != [n for n in shape if n > 1]:
        raise InvalidFile(
            f"{scores_key} must be numbers {list(shape)}, one per joint of {key}, not {scores.dtype} "
            f"{list(scores.shape)}.",
            path=scores_key,
        )
    columns = (keypoints[..., :2], scores.reshape(*shape, 1))
    return np.concatenate([np.asarray(column, dtype=np.float64) for column in columns], axis=-1)


def _unused(arrays: Arrays, used: set[str | None]) -> list[InputWarning]:
    unused = [name for name in arrays if name not in used]
    return [InputWarning("unused_array", f"the array {name} was not used.", path=name) for name in unused]
