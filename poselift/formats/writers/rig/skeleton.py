"""The skeleton of animation programs, and what it takes from the 17 joints of Human3.6M.

A joint turns all that hangs on it as one piece, but hips, spine and shoulders move against each other. So there are
joints of length zero that turn them, as in the recordings of CMU: both hip joints and the spine at the pelvis. All
joints of the body then lie exactly where they lie in the poses.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.skeletons import skeleton

H36M = skeleton("h36m17")


class RigJoint(NamedTuple):
    """A joint of the rig.

    Attributes:
        name: in Mixamo and MotionBuilder.
        parent: its number; -1 for the root.
        axes: name of the Human3.6M joint that ends the bone whose axes the joint has.
        comes_from: the bone, by the Human3.6M joint that ends it, along which it lies from its parent; "" if it lies
            where its parent does.
        share: of that bone's length.
    """

    name: str
    parent: int
    axes: str
    comes_from: str = ""
    share: float = 1.0


def _joints() -> tuple[RigJoint, ...]:
    rows: list[tuple[str, str, str, str, float]] = [("Hips", "", "pelvis", "", 0)]
    for side, letter in (("Left", "L"), ("Right", "R")):
        low = side.lower()
        rows += [
            (f"{letter}HipJoint", "Hips", f"{low}_hip", "", 0),
            (f"{side}UpLeg", f"{letter}HipJoint", f"{low}_knee", f"{low}_hip", 1),
            (f"{side}Leg", f"{side}UpLeg", f"{low}_ankle", f"{low}_knee", 1),
            (f"{side}Foot", f"{side}Leg", f"{low}_ankle", f"{low}_ankle", 1),
            (f"{side}ToeBase", f"{side}Foot", f"{low}_ankle", "", 0),
        ]
    rows += [
        ("Spine", "Hips", "spine", "", 0),
        ("Spine1", "Spine", "thorax", "spine", 1),
        ("Spine2", "Spine1", "thorax", "thorax", 0.5),
        ("Neck", "Spine2", "neck_nose", "thorax", 0.5),
        ("Head", "Neck", "head", "neck_nose", 1),
    ]
    for side in ("Left", "Right"):
        low = side.lower()
        rows += [
            (f"{side}Shoulder", "Spine2", f"{low}_shoulder", "thorax", 0.5),
            (f"{side}Arm", f"{side}Shoulder", f"{low}_elbow", f"{low}_shoulder", 1),
            (f"{side}ForeArm", f"{side}Arm", f"{low}_wrist", f"{low}_elbow", 1),
            (f"{side}Hand", f"{side}ForeArm", f"{low}_wrist", f"{low}_wrist", 1),
        ]
    at = {row[0]: number for number, row in enumerate(rows)} | {"": -1}
    return tuple(RigJoint(name, at[parent], axes, comes_from, share) for name, parent, axes, comes_from, share in rows)


JOINTS = _joints()
"""In the order of files: legs, trunk, arms; each after its parent, and before its parent's next child."""
NAMES = tuple(joint.name for joint in JOINTS)
PARENTS = tuple(joint.parent for joint in JOINTS)

# Feet and hands, which the poses do not have, as shares of the stature: how far below and before the ankle the ball of
# the foot is, and the lengths of toes and hand.
_BELOW, _BEFORE, _TOES, _HAND = 0.036, 0.075, 0.04, 0.1

_PLACE_OF = {
    "pelvis": "Hips",
    **{
        f"{side.lower()}_{joint}": f"{side}{name}"
        for side in ("Left", "Right")
        for joint, name in (
            *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot")),
            *(("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand")),
        )
    },
    "spine": "Spine1",
    "thorax": "Neck",
    "neck_nose": "Head",
    "head": "Head_end",
}
PLACES: Mapping[str, str] = {joint: _PLACE_OF[joint] for joint in H36M.joint_names}
"""The joint of the rig that lies where each joint of Human3.6M does; `Head_end` is the end of the head."""


def rig_offsets(rest: NDArray[np.float64], height_m: float) -> NDArray[np.float64]:
    """From each joint's parent to the joint, in the T-pose.

    Args:
        rest: [17, 3] the same of the joints of Human3.6M, metres: y up, facing +z.
        height_m: stature, which feet and hands have their size of.
    Returns:
        [K, 3] metres.
    """
    offsets = np.zeros((len(JOINTS), 3))
    for number, joint in enumerate(JOINTS):
        if joint.comes_from:
            offsets[number] = joint.share * rest[H36M.joint_names.index(joint.comes_from)]
        elif joint.name.endswith("ToeBase"):
            offsets[number] = (0, -_BELOW * height_m, _BEFORE * height_m)
    return offsets


def rig_ends(rest: NDArray[np.float64], height_m: float) -> dict[str, NDArray[np.float64]]:
    """From the outermost joints to where their bones end, in the T-pose: [3] metres by the joint's name."""
    ends = {f"{side}ToeBase": np.array([0, 0, _TOES * height_m]) for side in ("Left", "Right")}
    ends["Head"] = rest[H36M.joint_names.index("head")]
    for side, sign in (("Left", 1), ("Right", -1)):
        ends[f"{side}Hand"] = np.array([sign * _HAND * height_m, 0, 0])
    return ends
