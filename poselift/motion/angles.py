"""Angles of joints as clinicians name them; `docs/motion.md` has the definitions and what they cannot tell."""

import numpy as np
from numpy.typing import NDArray

from poselift.motion.quaternions import Array, cross, dot, normalised, shortest_arc, turn
from poselift.motion.rotations import global_rotations
from poselift.skeletons import skeleton

_JOINT = {joint: index for index, joint in enumerate(skeleton("h36m17").joint_names)}
_X, _Y, _Z = np.eye(3)[..., None]  # left, up and forward of a person in the T-pose: [3, 1] each


def joint_angles(poses: NDArray[np.floating], rotations: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Angles of trunk, hips, knees, shoulders and elbows.

    Args:
        poses: [F, 17, 3] y up.
        rotations: [F, 17, 4] of these poses, by `joint_rotations`.
    Returns:
        Degrees [F] by name; that of one side begins with `left_` or `right_`.
    """
    joints = np.ascontiguousarray(np.asarray(poses, dtype=np.float64).transpose(2, 1, 0))
    frames = np.ascontiguousarray(global_rotations(rotations).transpose(2, 1, 0))
    angles = _trunk(joints, frames)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, radians in (
            *_hip(frames, side, sign),
            ("knee_flexion", _bend(joints, f"{side}_hip", f"{side}_knee", f"{side}_ankle")),
            *_shoulder(joints, frames, side, sign),
            ("elbow_flexion", _bend(joints, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")),
        ):
            angles[f"{side}_{name}"] = radians
    return {name: np.degrees(radians) for name, radians in angles.items()}


def _trunk(joints: Array, frames: Array) -> dict[str, Array]:
    """Lean of the trunk from the vertical, seen from the hips; shoulders against hips; hips against the horizontal."""
    hips = normalised(joints[:, _JOINT["left_hip"]] - joints[:, _JOINT["right_hip"]])
    left = normalised(hips * (_X + _Z))
    trunk = normalised(joints[:, _JOINT["thorax"]] - joints[:, _JOINT["pelvis"]])
    shoulders = joints[:, _JOINT["left_shoulder"]] - joints[:, _JOINT["right_shoulder"]]
    return {
        "trunk_flexion": np.arctan2(dot(trunk, cross(left, _Y)), trunk[1]),
        "trunk_bend": np.arcsin(np.clip(-dot(trunk, left), -1, 1)),
        "trunk_rotation": np.arctan2(-dot(cross(shoulders, hips), trunk), _across(shoulders, hips, trunk)),
        "pelvis_obliquity": np.arcsin(np.clip(hips[1], -1, 1)),
    }


def _across(a: Array, b: Array, axis: Array) -> Array:
    """Dot product of what a and b have at right angles to an axis."""
    return dot(a, b) - dot(a, axis) * dot(b, axis)


def _hip(frames: Array, side: str, sign: float) -> tuple[tuple[str, Array], ...]:
    """Thigh in the frame of the pelvis: about its left axis, then to the side, then about the thigh itself."""
    left, up, forward = (turn(frames[:, _JOINT["pelvis"]], axis) for axis in (_X, _Y, _Z))
    thigh = frames[:, _JOINT[f"{side}_knee"]]
    thigh_left, thigh_up, thigh_forward = (turn(thigh, axis) for axis in (_X, _Y, _Z))
    return (
        ("hip_flexion", -np.arctan2(dot(thigh_up, forward), dot(thigh_up, up))),
        ("hip_adduction", sign * np.arcsin(np.clip(dot(thigh_up, left), -1, 1))),
        ("hip_rotation", -sign * np.arctan2(dot(thigh_forward, left), dot(thigh_left, left))),
    )


def _bend(joints: Array, first: str, middle: str, last: str) -> Array:
    """Angle between two bones; 0 if they are in line."""
    inner = joints[:, _JOINT[middle]] - joints[:, _JOINT[first]]
    outer = joints[:, _JOINT[last]] - joints[:, _JOINT[middle]]
    normal = cross(inner, outer)
    result: Array = np.arctan2(np.sqrt(dot(normal, normal)), dot(inner, outer))
    return result


def _shoulder(joints: Array, frames: Array, side: str, sign: float) -> tuple[tuple[str, Array], ...]:
    """Upper arm in the frame of the chest, against an arm that hangs with the elbow ready to bend to the front."""
    chest = frames[:, _JOINT["thorax"]]
    left, up, forward = (turn(chest, axis) for axis in (_X, _Y, _Z))
    arm = normalised(joints[:, _JOINT[f"{side}_elbow"]] - joints[:, _JOINT[f"{side}_shoulder"]])
    outwards, forwards = sign * dot(arm, left), dot(arm, forward)
    sideways = np.hypot(outwards, forwards)
    elevation = np.arctan2(sideways, -dot(arm, up))
    share = elevation / np.maximum(sideways, 1e-9)
    hinge = turn(frames[:, _JOINT[f"{side}_elbow"]], -sign * _Y)
    hanging = turn(shortest_arc(-up, arm), -left)
    turned = np.arctan2(dot(cross(hanging, hinge), arm), dot(hanging, hinge))
    return (
        ("shoulder_elevation", elevation),
        ("shoulder_flexion", share * forwards),
        ("shoulder_abduction", share * outwards),
        ("shoulder_rotation", sign * turned),
    )
