"""Whether keypoints can be what they are said to be.

What is certainly wrong is refused, with what to do about it; what is likely wrong becomes a warning. In the usual case
only the extent of the positions, the direction of the body and the frame rate are looked at, which takes less than a
hundredth of the time of lifting.
"""

import math
from collections.abc import Sequence as Items
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints
from poselift.input_warnings import InputWarning
from poselift.sequence import Sequence
from poselift.skeletons import Skeleton
from poselift.undistort import undistort

Timing = Literal["fps", "timestamps_s"]

# Nobody is smaller than this, unless the picture is hardly larger.
_CORNER_PX, _SMALL_PICTURE_PX = 2.0, 64.0
# Of fewer joints nothing is certain: a detector may have blundered.
_FEW_JOINTS = 4
# Shares of the picture are negative only for joints beside it.
_LOWEST_SHARE = -0.3
_MOSTLY = 0.8
_SEEN_SCORE = 0.3
# How far outside of the picture, as a share of its size, and how many of the joints. People walk out of it, and
# detectors guess where their feet are; but in 12 000 films of virtual cameras no joint lies so far outside.
_MARGIN, _FAR, _MAX_OUTSIDE = 0.1, 0.5, 0.25
_MIN_OUTSIDE_IF_TURNED, _FEWEST_OUTSIDE_IF_TURNED = 0.01, 3
_MIN_FPS, _MAX_FPS, _ROUNDING = 1.0, 1000.0, 1e-6
# As seconds, this would be a quarter of a frame per second.
_SHORTEST_MILLISECONDS = 4.0
_STEPS_LOOKED_AT, _FRAMES_LOOKED_AT = 1000, 4096
_FRAMES_PER_ROW = 64
_HEADS = ("nose", "neck_nose", "head", "head_top")


class Person(NamedTuple):
    """The keypoints of one person, and the name of the field that they came from, if it has one."""

    path: str | None
    sequence: Sequence


def check_plausibility(people: Items[Person], *, timing: Timing) -> tuple[InputWarning, ...]:
    """Check the people of a recording.

    Args:
        people: at least one, all in pictures of the same size.
        timing: the field that their times came from.
    Returns:
        What is likely wrong, at most one warning of each kind.
    Raises:
        InvalidKeypoints: the positions are certainly no pixels.
    """
    first = people[0].sequence
    picture = _Picture(first.width_px, first.height_px)
    keypoints = [person.sequence.keypoints for person in people]
    found = (
        _about_positions(keypoints, picture, people[0].path),
        about_rate(first.times_s, timing),
        _about_direction(people),
        next((warning for person in people if (warning := about_lens(person.sequence))), None),
    )
    return tuple(warning for warning in found if warning is not None)


def check_live_frames(
    keypoints: NDArray[np.float32], width_px: float, height_px: float, path: str = "keypoints"
) -> tuple[InputWarning, ...]:
    """Check what one message of a stream can tell: whether anybody is in the picture at all.

    Args:
        keypoints: [F, J, 3] pixels and score; x and y NaN where a joint is missing.
        path: name of the field that they came from.
    Raises:
        InvalidKeypoints: the positions are certainly no pixels.
    """
    picture, extent = _Picture(width_px, height_px), _Extent.of(keypoints)
    warning = None
    if extent.is_in_corner:
        warning = _about_positions([keypoints], picture, path)
    elif extent.is_beyond(picture, 0):
        seen = _seen(_known([keypoints]))
        warning = _about_turned(seen, picture)
        if extent.is_beyond(picture, _FAR):  # nearer, somebody may have walked out of the picture
            warning = warning or _about_outside(seen, picture, path)
    return () if warning is None else (warning,)


class _Picture(NamedTuple):
    width_px: float
    height_px: float

    @property
    def turned(self) -> "_Picture":
        return _Picture(self.height_px, self.width_px)

    def is_outside(self, x: NDArray[np.float32], y: NDArray[np.float32], margin: float) -> NDArray[np.bool_]:
        """Which positions are farther outside than a share of the picture's size."""
        width_px, height_px = self
        is_beside = (x < -margin * width_px) | (x > (1 + margin) * width_px)
        outside: NDArray[np.bool_] = is_beside | (y < -margin * height_px) | (y > (1 + margin) * height_px)
        return outside

    def __str__(self) -> str:
        return f"{self.width_px:g} x {self.height_px:g}"


class _Extent(NamedTuple):
    """The lowest and the highest x and y; NaN where all joints are missing."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @staticmethod
    def of(keypoints: NDArray[np.float32]) -> "_Extent":
        """That of [F, J, 3], F > 0."""
        lowest, highest = _extreme(np.fmin, keypoints).tolist(), _extreme(np.fmax, keypoints).tolist()
        return _Extent(*lowest[:2], *highest[:2])

    @staticmethod
    def around(extents: Items["_Extent"]) -> "_Extent":
        if len(extents) == 1:
            return extents[0]
        lowest, highest = np.fmin.reduce(extents).tolist(), np.fmax.reduce(extents).tolist()
        return _Extent(*lowest[:2], *highest[2:])

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.x_min)

    @property
    def is_in_corner(self) -> bool:
        return max(self.x_max, self.y_max, -self.x_min, -self.y_min) <= _CORNER_PX

    @property
    def is_a_point(self) -> bool:
        return (self.x_min, self.y_min) == (self.x_max, self.y_max)

    def is_beyond(self, picture: _Picture, margin: float) -> bool:
        """Whether all of it is farther outside of the picture than a share of its size."""
        width_px, height_px = picture
        beside = max(self.x_min / width_px - 1, -self.x_max / width_px)
        return max(beside, self.y_min / height_px - 1, -self.y_max / height_px) > margin

    def is_near(self, picture: _Picture) -> bool:
        """Whether all of it is inside of the picture, or not far outside."""
        width_px, height_px = picture
        beside = min(self.x_min / width_px, 1 - self.x_max / width_px)
        return min(beside, self.y_min / height_px, 1 - self.y_max / height_px) >= -_MARGIN


def _extreme(extremum: np.ufunc, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lowest (fmin) or highest (fmax) known x, y and score of [F, J, 3], F > 0."""
    rows = keypoints.reshape(-1, 3)
    if whole := len(keypoints) // _FRAMES_PER_ROW * _FRAMES_PER_ROW:
        # Along rows of three it takes thirty times as long.
        long = extremum.reduce(keypoints[:whole].reshape(-1, _FRAMES_PER_ROW * keypoints[0].size))
        rows = np.concatenate([long.reshape(-1, 3), keypoints[whole:].reshape(-1, 3)])
    found: NDArray[np.float32] = extremum.reduce(rows)
    return found


def _about_positions(people: Items[NDArray[np.float32]], picture: _Picture, path: str | None) -> InputWarning | None:
    extent = _Extent.around([_Extent.of(keypoints) for keypoints in people])
    may_be_corner = max(extent.x_min, extent.y_min) <= _CORNER_PX and min(picture) >= _SMALL_PICTURE_PX
    if not extent.is_known or (extent.is_near(picture) and not may_be_corner):
        return None
    step = math.ceil(sum(map(len, people)) / _FRAMES_LOOKED_AT)
    joints = _known([keypoints[::step] for keypoints in people])
    if may_be_corner and (warning := _about_corner(joints, extent, picture, path)):
        return warning
    seen = _seen(joints)
    return _about_turned(seen, picture) or _about_outside(seen, picture, path)


def _known(people: Items[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The joints [N, 3] of several [F, J, 3] that have a position."""
    joints = np.concatenate([keypoints.reshape(-1, 3) for keypoints in people])
    known: NDArray[np.float32] = joints[~np.isnan(joints[:, 0])]
    return known


def _seen(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    return joints[joints[:, 2] >= _SEEN_SCORE]


def _about_corner(
    joints: NDArray[np.float32], extent: _Extent, picture: _Picture, path: str | None
) -> InputWarning | None:
    """What is said about joints [N, 3] of which most lie in the corner of the picture: they are no pixels."""
    distance_px = np.abs(joints[:, :2]).max(axis=1)
    share = np.count_nonzero(distance_px <= _CORNER_PX) / max(1, len(joints))
    if share < _MOSTLY:
        return None
    remedy = (
        'shares of the picture need "coordinates": "normalised" (--coordinates normalised).'
        if min(extent.x_min, extent.y_min) > _LOWEST_SHARE
        else "coordinates from -1 to 1 must be turned into pixels from the top-left corner."
    )
    if extent.is_in_corner and not extent.is_a_point and len(joints) >= _FEW_JOINTS:
        raise InvalidKeypoints(
            f"No joint is farther than {max(extent):.2g} px from the corner of a picture of {picture}, so these "
            f"are no pixels; {remedy}",
            path=path,
        )
    message = (
        f"{share:.0%} of the joints lie within {_CORNER_PX:g} px of the corner of a picture of {picture}, so these may "
        f"be no pixels; {remedy}"
    )
    return InputWarning("normalised_coordinates", message, path)


def _about_turned(seen: NDArray[np.float32], picture: _Picture) -> InputWarning | None:
    """What is said about joints [N, 3] that fit into the picture only when its width and height are exchanged."""
    x, y = seen[:, 0], seen[:, 1]
    outside = np.count_nonzero(picture.is_outside(x, y, _MARGIN))
    fewest = max(_FEWEST_OUTSIDE_IF_TURNED, _MIN_OUTSIDE_IF_TURNED * len(seen))
    if outside < fewest or np.count_nonzero(picture.turned.is_outside(x, y, 0)) > _MIN_OUTSIDE_IF_TURNED * len(seen):
        return None
    message = (
        f"{outside / len(seen):.0%} of the joints lie outside of a picture of {picture}, and none outside of one of "
        f"{picture.turned}; image_size (--image-size) is the width and then the height."
    )
    return InputWarning("picture_turned", message, "image_size")


def _about_outside(seen: NDArray[np.float32], picture: _Picture, path: str | None) -> InputWarning | None:
    """What is said about joints [N, 3] of which many lie far outside of the picture."""
    outside = np.count_nonzero(picture.is_outside(seen[:, 0], seen[:, 1], _MARGIN))
    if outside <= _MAX_OUTSIDE * len(seen):
        return None
    message = (
        f"{outside / len(seen):.0%} of the joints lie far outside of a picture of {picture}, x reaches "
        f"{seen[:, 0].max():.0f} and y {seen[:, 1].max():.0f}; image_size (--image-size) must be the size of the "
        "pictures that the keypoints were detected in."
    )
    return InputWarning("outside_picture", message, path)


def about_lens(sequence: Sequence) -> InputWarning | None:
    """What is said about keypoints of which many have no place in a picture without distortion.

    Raises:
        InvalidKeypoints: as `undistort`.
    """
    if (flat := undistort(sequence)) is sequence:
        return None
    is_seen = sequence.keypoints[..., 2] >= _SEEN_SCORE
    seen, lost = np.count_nonzero(is_seen), np.count_nonzero(is_seen & np.isnan(flat.keypoints[..., 0]))
    if lost <= _MAX_OUTSIDE * seen:
        return None
    message = (
        f"{lost / seen:.0%} of the joints lie where a lens with this focal length and distortion shows nothing, and "
        "count as missing; check camera.distortion, and camera.focal_px or camera.fov_deg."
    )
    return InputWarning("outside_lens", message, "camera.distortion")


def about_rate(times_s: NDArray[np.float64], timing: Timing) -> InputWarning | None:
    """What is said about frames that come too slowly or too fast for a video.

    Args:
        times_s: [F] seconds.
        timing: the field that they came from.
    """
    if len(times_s) < 2 or _is_usual((len(times_s) - 1) / float(times_s[-1] - times_s[0])):
        return None
    # A long pause does not count.
    step_s = float(np.median(np.diff(times_s[: _STEPS_LOOKED_AT + 1])))
    if _is_usual(1 / step_s):
        return None
    if timing == "timestamps_s" and step_s >= _SHORTEST_MILLISECONDS:
        message = f"From frame to frame {step_s:g} s pass; timestamps_s are seconds: divide milliseconds by 1000."
        return InputWarning("times_not_in_seconds", message, timing)
    option = "fps (--fps)" if timing == "fps" else timing
    message = f"{1 / step_s:g} frames per second are hardly those of a video; correct {option}."
    return InputWarning("unusual_frame_rate", message, timing)


def _is_usual(fps: float) -> bool:
    return _MIN_FPS * (1 - _ROUNDING) <= fps <= _MAX_FPS * (1 + _ROUNDING)


def _about_direction(people: Items[Person]) -> InputWarning | None:
    """What is said about people who stand on their heads in most of the frames in which head and feet were seen."""
    for path, sequence in people:
        if sequence.camera.gravity is not None and sequence.camera.gravity[1] < 0:
            continue  # it is told to be so
        is_upside_down = _is_upside_down(sequence.keypoints, sequence.skeleton)
        if len(is_upside_down) and np.count_nonzero(is_upside_down) >= _MOSTLY * len(is_upside_down):
            message = (
                f"The head is below the feet in {np.count_nonzero(is_upside_down)} of {len(is_upside_down)} frames; y "
                "grows downwards from the top of the picture, and a picture that stands on its head must be rotated."
            )
            return InputWarning("upside_down", message, path)
    return None


def _is_upside_down(keypoints: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.bool_]:
    """Whether the body stands on its head, and does not lie, in each frame in which head, hips and ankles were seen."""
    joints = _upright_joints(skeleton)
    if joints is None:
        return np.zeros(0, np.bool_)
    # One head, two hips, two ankles; all columns at once would take ten times as long.
    x, y, score = (keypoints[:, joints, column] for column in range(3))
    y = np.where(score >= _SEEN_SCORE, y, np.nan)
    # Sums of pairs, and not `mean`, which takes as long for one frame as all the rest.
    head, hips, ankles = y[:, 0], (y[:, 1] + y[:, 2]) / 2, (y[:, 3] + y[:, 4]) / 2
    aside = np.abs(x[:, 0] - (x[:, 3] + x[:, 4]) / 2)
    is_upside_down = (head > hips) & (hips > ankles) & (head - ankles > aside)
    known: NDArray[np.bool_] = is_upside_down[~np.isnan(head + hips + ankles)]
    return known


@cache
def _upright_joints(skeleton: Skeleton) -> list[int] | None:
    """Indices of a head, both hips and both ankles; None for a skeleton without them."""
    names = skeleton.joint_names
    head = next((joint for joint in _HEADS if joint in names), "")
    wanted = (head, "left_hip", "right_hip", "left_ankle", "right_ankle")
    return [names.index(joint) for joint in wanted] if all(joint in names for joint in wanted) else None
