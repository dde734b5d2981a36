"""Rotations of a rig out of the positions of its joints, and back.

Each rotation belongs to a bone and is stored at the joint that the bone ends in: that of `left_knee` turns the left
thigh. It is relative to the T-pose, in the frame of the bone before. So every bone, those from the pelvis to the hips
and from the thorax to the shoulders too, can point where it does, and forward kinematics meets all joints.

What positions do not tell is filled in: see `docs/motion.md`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.motion.quaternions import (
    Array,
    about,
    cross,
    dot,
    from_axes,
    halfway,
    inverse,
    normalised,
    product,
    shortest_arc,
    turn,
)
from poselift.skeletons import skeleton

_H36M = skeleton("h36m17")
_PARENTS = np.array(_H36M.parents)
_JOINT = {joint: index for index, joint in enumerate(_H36M.joint_names)}
_LEFT_SIDE = [_JOINT["left_hip"], _JOINT["left_shoulder"]]
_RIGHT_SIDE = [_JOINT["right_hip"], _JOINT["right_shoulder"]]
_SPINE_AND_THORAX = [_JOINT["spine"], _JOINT["thorax"]]
_PELVIS_AND_THORAX = [_JOINT["pelvis"], _JOINT["thorax"]]
_AROUND = [_JOINT[joint] for joint in ("spine", "left_hip", "right_hip", "left_shoulder", "right_shoulder")]
_DOWN, _UP, _LEFT, _RIGHT = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)

# Directions of the bones of a person in a T-pose who faces +z: y up, x to the left. Shoulders, neck and head are the
# medians of recorded people who stand upright, in the frame of the chest.
_REST = np.zeros((3, 17, 1))
for _joint, _direction in {
    "left_hip": _LEFT,
    "right_hip": _RIGHT,
    **{f"{side}_{joint}": _DOWN for side in ("left", "right") for joint in ("knee", "ankle")},
    "spine": _UP,
    "thorax": _UP,
    "neck_nose": (0.0, 0.79, 0.61),
    "head": (0.0, 0.89, -0.46),
    "left_shoulder": (0.98, -0.16, -0.10),
    "right_shoulder": (-0.98, -0.16, -0.10),
    "left_elbow": _LEFT,
    "left_wrist": _LEFT,
    "right_elbow": _RIGHT,
    "right_wrist": _RIGHT,
}.items():
    _REST[:, _JOINT[_joint], 0] = _direction
_REST = normalised(_REST)


def _levels() -> list[NDArray[np.int64]]:
    """Joints by how many bones they are away from the pelvis, from 1 on."""
    depth = np.zeros(len(_PARENTS), np.int64)
    for joint in range(1, len(_PARENTS)):
        depth[joint] = depth[_PARENTS[joint]] + 1
    return [np.flatnonzero(depth == level) for level in range(1, int(depth.max()) + 1)]


_LEVELS = _levels()


class _Hinges(NamedTuple):
    """Pairs of bones that bend about one axis, as arrays over the pairs.

    Attributes:
        inner, outer: joints that the two bones end in.
        axis: [3, N, 1] of the hinge in the T-pose: inner x outer when bent.
        side: [3, N, 1] inner bone x axis in the T-pose.
        middle: [N, 1] radians, the middle of the range of the inner bone's twist.
        farthest: [N, 1] radians from there, from which a measured twist is taken for noise; it counts in full if it is
            25 degrees nearer.
    """

    inner: list[int]
    outer: list[int]
    axis: Array
    side: Array
    middle: Array
    farthest: Array


def _hinges(*rows: tuple[str, str, tuple[float, float, float], float, float]) -> _Hinges:
    inner_joints, outer_joints, axes, middle_deg, farthest_deg = zip(*rows, strict=True)
    inner = [_JOINT[joint] for joint in inner_joints]
    outer = [_JOINT[joint] for joint in outer_joints]
    axis = np.array(axes).T[..., None]
    side = cross(_REST[:, inner], axis)
    return _Hinges(inner, outer, axis, side, np.radians(middle_deg)[:, None], np.radians(farthest_deg)[:, None])


# A knee seen to bend to the front is noise, or the leg is straight; an upper arm turns further about itself, mostly
# inwards; the nose and the head bend in the plane in which the person looks.
_BENDS = _hinges(
    ("left_knee", "left_ankle", _LEFT, 0.0, 95.0),
    ("right_knee", "right_ankle", _LEFT, 0.0, 95.0),
    ("left_elbow", "left_wrist", (0.0, -1.0, 0.0), -25.0, 170.0),
    ("right_elbow", "right_wrist", (0.0, 1.0, 0.0), 25.0, 170.0),
    ("neck_nose", "head", _RIGHT, 0.0, 95.0),
)
_FADE_RAD = np.radians(25.0)
# Sine of the angle between two bones below which their plane says nothing (an arm that is held straight bends by 10
# degrees to the side), and above which it is all (30 degrees).
_STRAIGHT, _BENT = 0.17, 0.5
# How stiff the twist is from frame to frame at 50 fps, and how strongly it returns to none while nothing is measured
# (within about a second), where a hinge of a bent limb measures with 1.
_STIFFNESS, _RETURN = 2.0, 8e-4
_NEGLIGIBLE = 1e-20


def rest_offsets(bones: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where each joint lies from its parent in the T-pose.

    Args:
        bones: [17] metres, 0 for the pelvis.
    Returns:
        [17, 3] metres, y up, the person faces +z and has their left at +x.
    """
    return _REST[..., 0].T * np.asarray(bones, dtype=np.float64)[:, None]


def forward_kinematics(
    root: NDArray[np.floating], rotations: NDArray[np.floating], offsets: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Positions of the joints of a rig.

    Args:
        root: [F, 3] metres, the pelvis.
        rotations: [F, 17, 4] as `joint_rotations` returns them.
        offsets: [17, 3] metres, of `rest_offsets`.
    Returns:
        [F, 17, 3] metres.
    """
    frames = _by_component(global_rotations(rotations))
    poses = turn(frames, _by_component(np.asarray(offsets, dtype=np.float64)[None]))
    poses[:, 0] = np.asarray(root).T
    for joint in range(1, len(_PARENTS)):
        poses[:, joint] += poses[:, _PARENTS[joint]]
    return _by_frame(poses)


def global_rotations(rotations: NDArray[np.floating]) -> NDArray[np.float64]:
    """The frame of each bone in the world: [F, 17, 4] relative to the T-pose, not to the parent."""
    frames = _by_component(np.array(rotations, dtype=np.float64))
    for joints in _LEVELS:
        frames[:, joints] = product(frames[:, _PARENTS[joints]], frames[:, joints])
    return _by_frame(frames)


def joint_rotations(poses: NDArray[np.floating], fps: float = 50.0) -> NDArray[np.float64]:
    """Rotation of each bone relative to the T-pose in the frame of the bone before it.

    Args:
        poses: [F, 17, 3] y up, right-handed; constant bones are not needed, only directions count.
        fps: frames per second; says how long the twist of a straight limb is remembered.
    Returns:
        [F, 17, 4] w, x, y, z of unit length; signs change nowhere between neighbouring frames.
    """
    measured = _measure(poses)
    twist = _steady(measured.twist, measured.weight, fps)
    return _by_frame(_without_sign_changes(_local(measured, twist)))


class RotationState(NamedTuple):
    """What the rotations of a stream's next frames take from those before; plain arrays.

    Attributes:
        twist: [5] radians, of the inner bones of limbs and head.
        certainty: [5] of these.
        rotations: [17, 4] of the last frame.
    """

    twist: Array
    certainty: Array
    rotations: Array


def next_rotations(
    poses: NDArray[np.floating], state: RotationState | None, fps: float | NDArray[np.float64] = 50.0
) -> tuple[NDArray[np.float64], RotationState]:
    """`joint_rotations` of the next frames of a stream, which do not know what comes after them.

    The rotations of the last frame are those of the whole stream as one clip; earlier ones differ while limbs are
    straight.

    Args:
        poses: [F, 17, 3] y up; F of at least 1.
        state: after the frames before; None for the first.
        fps: as for `joint_rotations`, or one over the time since the frame before, [F].
    Returns:
        [F, 17, 4], and the state after them.
    """
    measured = _measure(poses)
    twist, certainty = _steady_so_far(measured.twist, measured.weight, fps, state)
    frames = _local(measured, twist)
    rotations = _by_frame(_without_sign_changes(frames, None if state is None else state.rotations.T))
    return rotations, RotationState(twist[:, -1], certainty, rotations[-1])


class _Measured(NamedTuple):
    """What poses tell before limbs are twisted: [4, 17, F] frames, directions of bones, and of each limb its inner
    bone's frame without twist, the twist and how far to trust it."""

    frames: Array
    directions: Array
    swung: Array
    twist: Array
    weight: Array


def _measure(poses: NDArray[np.floating]) -> _Measured:
    joints = _by_component(np.asarray(poses, dtype=np.float64))
    directions = normalised(joints - joints[:, _PARENTS])
    frames = _trunk_frames(joints, directions)
    swung = _pointed(frames[:, _PARENTS[_BENDS.inner]], _BENDS.inner, directions)
    return _Measured(frames, directions, swung, *_measured_twist(swung, directions))


def _local(measured: _Measured, twist: Array) -> Array:
    """Fill in limbs and head with their twist [5, F], and tell all frames relative to their parents: [4, 17, F]."""
    frames = measured.frames
    # The inner bone is twisted so that the outer one is a hinge.
    frames[:, _BENDS.inner] = inner = product(measured.swung, about(_REST[:, _BENDS.inner], twist))
    frames[:, _BENDS.outer] = _pointed(inner, _BENDS.outer, measured.directions)
    frames[:, 1:] = product(inverse(frames[:, _PARENTS[1:]]), frames[:, 1:])
    return frames


def _by_component(values: Array) -> Array:
    """[F, 17, K] -> [K, 17, F] in one block of memory each."""
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _by_frame(values: Array) -> Array:
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _trunk_frames(joints: Array, directions: Array) -> Array:
    """Frames [4, 17, F] of pelvis, spine, chest, hips and shoulders; those of limbs and head are not filled in."""
    frames = np.empty((4, *joints.shape[1:]))
    across = joints[:, _LEFT_SIDE] - joints[:, _RIGHT_SIDE]
    # The whole trunk says which way the chest is up: the bone to the thorax may come near the line of the shoulders.
    up = normalised(joints[:, _SPINE_AND_THORAX] - joints[:, :1])
    forward = normalised(cross(across, up))
    # The pelvis keeps the line of the hips, so that these need no turn of their own.
    left = normalised(across[:, 0])
    x = np.stack([left, cross(up[:, 1], forward[:, 1])], axis=1)
    y = np.stack([cross(forward[:, 0], left), up[:, 1]], axis=1)
    trunk = from_axes(x, y, forward)
    trunk[:, 1:] = _pointed(trunk[:, 1:], [_JOINT["thorax"]], directions)
    frames[:, _PELVIS_AND_THORAX] = trunk
    spine = halfway(trunk[:, 0], trunk[:, 1])
    around = np.stack([spine, trunk[:, 0], trunk[:, 0], trunk[:, 1], trunk[:, 1]], axis=1)
    frames[:, _AROUND] = _pointed(around, _AROUND, directions)
    return frames


def _pointed(frames: Array, joints: list[int], directions: Array) -> Array:
    """Turn frames [4, N, F] as little as possible to make bones point where they do."""
    return product(shortest_arc(turn(frames, _REST[:, joints]), directions[:, joints]), frames)


def _measured_twist(swung: Array, directions: Array) -> tuple[Array, Array]:
    """Twist of the inner bones about themselves that brings their hinges into the plane of the two bones.

    Returns:
        radians [N, F], within half a turn of the middle of the range, and how far to trust them, 0 to 1.
    """
    normal = cross(directions[:, _BENDS.inner], directions[:, _BENDS.outer])
    sine = np.sqrt(dot(normal, normal))
    normal = turn(inverse(swung), normal)
    twist = np.arctan2(dot(normal, _BENDS.side), dot(normal, _BENDS.axis))
    from_middle = (twist - _BENDS.middle + np.pi) % (2 * np.pi) - np.pi
    plausible = _smoothstep(np.abs(from_middle), _BENDS.farthest, _BENDS.farthest - _FADE_RAD)
    return from_middle + _BENDS.middle, plausible * _smoothstep(sine, _STRAIGHT, _BENT) * sine**2


def _without_sign_changes(frames: Array, previous: Array | None = None) -> Array:
    """Put neighbouring frames of [4, 17, F] on the same side, beginning with that of the previous one [4, 17].

    Without a previous one, the first frame has w >= 0.
    """
    signs = np.empty(frames.shape[1:])
    first = frames[0, :, 0] if previous is None else dot(frames[..., 0], previous)
    signs[:, 0] = np.where(first < 0, -1.0, 1.0)
    signs[:, 1:] = np.where(dot(frames[..., 1:], frames[..., :-1]) < 0, -1.0, 1.0)
    return frames * np.cumprod(signs, axis=1)


def _smoothstep(values: Array, start: Array | float, end: Array | float) -> Array:
    share = np.clip((values - start) / (end - start), 0.0, 1.0)
    result: Array = share * share * (3 - 2 * share)
    return result


def _steady(twist: Array, weight: Array, fps: float) -> Array:
    """Twist [N, F] that follows what is measured of bent limbs, and goes evenly from there to there while straight.

    It minimises weight (x - twist)^2 + stiffness (change of x)^2 + return x^2. Angles are averaged, not axes, and those
    half a turn from the middle have no weight: so it is continuous.
    """
    stiffness = _STIFFNESS * (fps / 50) ** 2
    off_diagonal = np.full(weight.shape, -stiffness)
    before, after = off_diagonal, off_diagonal.copy()
    before[:, 0] = after[:, -1] = 0
    diagonal = weight + _RETURN - before - after
    return _solve_tridiagonal(before, diagonal, after, weight * twist)


def _steady_so_far(twist: Array, weight: Array, fps: float | Array, state: RotationState | None) -> tuple[Array, Array]:
    """As `_steady`, of each frame with those before only: [N, F], and how certain the last one is, [N].

    It is a Kalman filter of a random walk: the forward half of that solution.
    """
    stiffnesses = np.broadcast_to(_STIFFNESS * (np.asarray(fps) / 50) ** 2, twist.shape[1:]).tolist()
    steady = np.empty(twist.shape)
    mean, certainty = (np.zeros(len(twist)),) * 2 if state is None else (state.twist, state.certainty)
    for frame, stiffness in enumerate(stiffnesses):
        known = certainty * stiffness / (certainty + stiffness)
        certainty = known + weight[:, frame] + _RETURN
        mean = (known * mean + weight[:, frame] * twist[:, frame]) / certainty
        steady[:, frame] = mean
    return steady, certainty


def _solve_tridiagonal(before: Array, diagonal: Array, after: Array, right: Array) -> Array:
    """Solve before x[f-1] + diagonal x[f] + after x[f+1] = right in each row of [N, F].

    Source: parallel cyclic reduction, Hockney and Jesshope 1981: all frames at once, log2(F) times.
    """
    frames, distance = diagonal.shape[1], 1
    while distance < frames:
        # Products of products underflow, and numbers that are almost 0 take a hundred times as long.
        before[np.abs(before) < _NEGLIGIBLE] = 0
        after[np.abs(after) < _NEGLIGIBLE] = 0
        low, high = np.s_[:, :-distance], np.s_[:, distance:]
        to_earlier, to_later = np.zeros_like(before), np.zeros_like(after)
        to_earlier[high] = -before[high] / diagonal[low]
        to_later[low] = -after[low] / diagonal[high]
        new_before, new_after, new_diagonal, new_right = (
            np.zeros_like(before),
            np.zeros_like(after),
            diagonal.copy(),
            right.copy(),
        )
        new_before[high] = to_earlier[high] * before[low]
        new_after[low] = to_later[low] * after[high]
        new_diagonal[high] += to_earlier[high] * after[low]
        new_diagonal[low] += to_later[low] * before[high]
        new_right[high] += to_earlier[high] * right[low]
        new_right[low] += to_later[low] * right[high]
        before, diagonal, after, right = new_before, new_diagonal, new_after, new_right
        distance *= 2
    return right / diagonal
