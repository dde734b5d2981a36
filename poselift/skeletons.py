"""Skeletons of detectors and lifters, and the conversion between them.

Joints with the same meaning have the same name in every skeleton, so conversions are found by name: a joint that the
source lacks is derived from others (the pelvis is the midpoint of the hips), and is missing if it cannot be derived.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidKeypoints, UnknownSkeleton

_LIMBS = {"arm": ("shoulder", "elbow", "wrist"), "leg": ("hip", "knee", "ankle")}


@dataclass(frozen=True)
class Skeleton:
    """Joint names in storage order, and the tree of the joints.

    Attributes:
        parents: index of each joint's parent; -1 for a joint without one.
        left, right: joints that mirroring swaps, pair by pair.
        root: index of the joint that poses are relative to; None for a skeleton without a pelvis.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    root: int | None

    @property
    def n_joints(self) -> int:
        return len(self.joint_names)

    def __hash__(self) -> int:
        return hash(self.name)  # hashing all fields would hash a hundred strings

    @property
    def mirror_order(self) -> tuple[int, ...]:
        """For each joint, the index of the joint that replaces it in the mirrored person."""
        order = list(range(self.n_joints))
        for left, right in zip(self.left, self.right, strict=True):
            order[left], order[right] = right, left
        return tuple(order)

    @property
    def limbs(self) -> dict[str, tuple[int, ...]]:
        """Joints of "left arm", "right arm", "left leg" and "right leg", from the trunk outwards."""
        return {
            f"{side} {limb}": tuple(self.joint_names.index(f"{side}_{joint}") for joint in joints)
            for limb, joints in _LIMBS.items()
            for side in ("left", "right")
        }


def _skeleton(name: str, joints_and_parents: str) -> Skeleton:
    """Build a skeleton from `joint:parent` words in storage order; the names tell left from right."""
    words = [word.partition(":") for word in joints_and_parents.split()]
    names = tuple(joint for joint, _, _ in words)
    parents = tuple(names.index(parent) if parent else -1 for _, _, parent in words)
    left = tuple(i for i, joint in enumerate(names) if joint.startswith("left_"))
    right = tuple(names.index("right_" + names[i].removeprefix("left_")) for i in left)
    return Skeleton(name, names, parents, left, right, names.index("pelvis") if "pelvis" in names else None)


# Parts that several skeletons share, as `joint:parent` words in storage order.
_COCO17 = (
    "nose left_eye:nose right_eye:nose left_ear:left_eye right_ear:right_eye left_shoulder right_shoulder "
    "left_elbow:left_shoulder right_elbow:right_shoulder left_wrist:left_elbow right_wrist:right_elbow "
    "left_hip:left_shoulder right_hip:right_shoulder left_knee:left_hip right_knee:right_hip left_ankle:left_knee "
    "right_ankle:right_knee"
)
_COCO18 = (
    "nose:neck neck right_shoulder:neck right_elbow:right_shoulder right_wrist:right_elbow left_shoulder:neck "
    "left_elbow:left_shoulder left_wrist:left_elbow right_hip:neck right_knee:right_hip right_ankle:right_knee "
    "left_hip:neck left_knee:left_hip left_ankle:left_knee right_eye:nose left_eye:nose right_ear:right_eye "
    "left_ear:left_eye"
)
_HALPE26 = (
    "nose:neck left_eye:nose right_eye:nose left_ear:left_eye right_ear:right_eye left_shoulder:neck "
    "right_shoulder:neck left_elbow:left_shoulder right_elbow:right_shoulder left_wrist:left_elbow "
    "right_wrist:right_elbow left_hip:pelvis right_hip:pelvis left_knee:left_hip right_knee:right_hip "
    "left_ankle:left_knee right_ankle:right_knee head_top:neck neck:pelvis pelvis "
    "left_big_toe:left_ankle right_big_toe:right_ankle left_small_toe:left_ankle right_small_toe:right_ankle "
    "left_heel:left_ankle right_heel:right_ankle"
)
_FEET = (
    "left_big_toe:left_ankle left_small_toe:left_ankle left_heel:left_ankle right_big_toe:right_ankle "
    "right_small_toe:right_ankle right_heel:right_ankle"
)
# The joints of no lifter; they are named so that detections of a whole body can be given as they are.
_FACE_AND_HANDS = " ".join(
    [f"face_{number}:nose" for number in range(68)]
    + [f"{side}_hand_{number}:{side}_wrist" for side in ("left", "right") for number in range(21)]
)

SKELETONS: Mapping[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        # Human3.6M as the lifting papers reduce it, 32 -> 17 joints.
        _skeleton(
            "h36m17",
            "pelvis right_hip:pelvis right_knee:right_hip right_ankle:right_knee left_hip:pelvis left_knee:left_hip "
            "left_ankle:left_knee spine:pelvis thorax:spine neck_nose:thorax head:neck_nose left_shoulder:thorax "
            "left_elbow:left_shoulder left_wrist:left_elbow right_shoulder:thorax right_elbow:right_shoulder "
            "right_wrist:right_elbow",
        ),
        # h36m17 without the neck/nose joint, as in the mixed data sets of MPM.
        _skeleton(
            "h36m16",
            "pelvis right_hip:pelvis right_knee:right_hip right_ankle:right_knee left_hip:pelvis left_knee:left_hip "
            "left_ankle:left_knee spine:pelvis thorax:spine head:thorax left_shoulder:thorax left_elbow:left_shoulder "
            "left_wrist:left_elbow right_shoulder:thorax right_elbow:right_shoulder right_wrist:right_elbow",
        ),
        _skeleton("coco17", _COCO17),
        # AlphaPose and RTMPose "body with feet".
        _skeleton("halpe26", _HALPE26),
        # OpenPose.
        _skeleton(
            "body25",
            "nose:neck neck:pelvis right_shoulder:neck right_elbow:right_shoulder right_wrist:right_elbow "
            "left_shoulder:neck left_elbow:left_shoulder left_wrist:left_elbow pelvis right_hip:pelvis "
            "right_knee:right_hip right_ankle:right_knee left_hip:pelvis left_knee:left_hip left_ankle:left_knee "
            "right_eye:nose left_eye:nose right_ear:right_eye left_ear:left_eye left_big_toe:left_ankle "
            "left_small_toe:left_ankle left_heel:left_ankle right_big_toe:right_ankle right_small_toe:right_ankle "
            "right_heel:right_ankle",
        ),
        # OpenPose's COCO model, AlphaPose's dictionaries and Kinetics-Skeleton.
        _skeleton("coco18", _COCO18),
        # OpenPose's experimental model: COCO's joints, neck and head, feet; it has no pelvis.
        _skeleton("body25b", f"{_COCO17} neck head_top:neck {_FEET}"),
        # Whole bodies: COCO-WholeBody (RTMW, DWPose), the same in OpenPose's order, and Halpe.
        _skeleton("wholebody133", f"{_COCO17} {_FEET} {_FACE_AND_HANDS}"),
        _skeleton("wholebody134", f"{_COCO18} {_FEET} {_FACE_AND_HANDS}"),
        _skeleton("halpe136", f"{_HALPE26} {_FACE_AND_HANDS}"),
        # MediaPipe Pose (BlazePose): `left_eye` is the middle one of its three points per eye.
        _skeleton(
            "mediapipe33",
            "nose left_eye_inner:nose left_eye:left_eye_inner left_eye_outer:left_eye right_eye_inner:nose "
            "right_eye:right_eye_inner right_eye_outer:right_eye left_ear:left_eye_outer right_ear:right_eye_outer "
            "left_mouth:nose right_mouth:nose left_shoulder right_shoulder left_elbow:left_shoulder "
            "right_elbow:right_shoulder left_wrist:left_elbow right_wrist:right_elbow left_pinky:left_wrist "
            "right_pinky:right_wrist left_index:left_wrist right_index:right_wrist left_thumb:left_wrist "
            "right_thumb:right_wrist left_hip:left_shoulder right_hip:right_shoulder left_knee:left_hip "
            "right_knee:right_hip left_ankle:left_knee right_ankle:right_knee left_heel:left_ankle "
            "right_heel:right_ankle left_big_toe:left_ankle right_big_toe:right_ankle",
        ),
        # MPI-INF-3DHP as the P-STMO data files reduce it, 28 -> 17 joints.
        _skeleton(
            "mpi17",
            "head_top:head neck:spine right_shoulder:neck right_elbow:right_shoulder right_wrist:right_elbow "
            "left_shoulder:neck left_elbow:left_shoulder left_wrist:left_elbow right_hip:pelvis right_knee:right_hip "
            "right_ankle:right_knee left_hip:pelvis left_knee:left_hip left_ankle:left_knee pelvis spine:pelvis "
            "head:neck",
        ),
    )
}

# How to derive a joint that the source lacks: the first row whose joints the source has is used.
# Positions follow the Human3.6M definitions: the spine joint lies 0.43 of the way from the pelvis to the thorax, the
# neck/nose joint three quarters of the way from the thorax to the tip of the nose, the head joint just under the crown.
_DERIVED: Mapping[str, tuple[Mapping[str, float], ...]] = {
    "pelvis": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"left_shoulder": 0.5, "right_shoulder": 0.5},),
    "neck": ({"thorax": 1.0}, {"left_shoulder": 0.5, "right_shoulder": 0.5}),
    "spine": ({"left_hip": 0.285, "right_hip": 0.285, "left_shoulder": 0.215, "right_shoulder": 0.215},),
    "neck_nose": (
        {"nose": 0.75, "left_shoulder": 0.125, "right_shoulder": 0.125},
        {"neck": 0.5, "head": 0.5},  # about the chin, for a head joint in the middle of the head
        {"thorax": 0.5, "head": 0.5},
    ),
    "head": (
        {"left_ear": 0.7, "right_ear": 0.7, "left_shoulder": -0.2, "right_shoulder": -0.2},
        {"head_top": 1.0},
    ),
    "head_top": ({"head": 1.0}, {"left_ear": 0.75, "right_ear": 0.75, "left_shoulder": -0.25, "right_shoulder": -0.25}),
}


def skeleton(name: str) -> Skeleton:
    """Find a skeleton by name.

    Raises:
        UnknownSkeleton: there is no skeleton of that name; the message lists the known ones.
    """
    try:
        return SKELETONS[name]
    except KeyError:
        raise UnknownSkeleton(
            f"Unknown skeleton {name!r}; known are {', '.join(SKELETONS)}.", path="skeleton"
        ) from None


class Conversion(NamedTuple):
    """Each target joint as a weighted sum of source joints: the non-zero entries of a [T, S] matrix.

    A row with fewer than K joints repeats one of its own with weight 0, so a missing (NaN) source joint makes exactly
    the joints derived from it missing. The weights of a joint that the source cannot provide are NaN.

    Attributes:
        parents: [T, K] source joint indices.
        weights: [T, K]; each row sums to 1.
    """

    parents: NDArray[np.int64]
    weights: NDArray[np.float32]


@cache
def conversion(source: Skeleton, target: Skeleton) -> Conversion:
    """How each joint of `target` is computed from joints of `source`."""
    rows = [_row(joint, source.joint_names) for joint in target.joint_names]
    width = max(len(row) for row in rows)
    parents = np.zeros((target.n_joints, width), dtype=np.int64)
    weights = np.zeros((target.n_joints, width), dtype=np.float32)
    for t, row in enumerate(rows):
        if not row:
            weights[t] = np.nan
            continue
        used = [source.joint_names.index(joint) for joint in row]
        parents[t] = used + [used[0]] * (width - len(used))
        weights[t, : len(used)] = list(row.values())
    return Conversion(parents, weights)


def _row(joint: str, available: tuple[str, ...]) -> Mapping[str, float]:
    if joint in available:
        return {joint: 1.0}
    return next((row for row in _DERIVED.get(joint, ()) if all(parent in available for parent in row)), {})


def convert(keypoints: NDArray[np.float32], source: Skeleton, target: Skeleton) -> NDArray[np.float32]:
    """Convert detected keypoints to another skeleton.

    A derived joint has the lowest score of the joints it is derived from, and is missing if one of them is.

    Args:
        keypoints: [..., S, 3], x and y in any unit, score; x and y are NaN where the joint is missing.
    Returns:
        [..., T, 3]; x and y NaN and score 0 where the joint is missing.
    Raises:
        InvalidKeypoints: the last two axes are not [S, 3].
    """
    if keypoints.shape[-2:] != (source.n_joints, 3):
        raise InvalidKeypoints(
            f"Keypoints of skeleton {source.name} must have the shape [..., {source.n_joints}, 3], "
            f"not {list(keypoints.shape)}.",
            path="keypoints",
        )
    if source == target:
        converted = keypoints.copy()
    else:
        position = convert_positions(keypoints[..., :2], source, target)
        score = keypoints[..., 2].take(conversion(source, target).parents, axis=-1).min(axis=-1)
        converted = np.concatenate([position, score[..., None]], axis=-1)
    converted[np.isnan(converted).any(axis=-1)] = (np.nan, np.nan, 0.0)
    return converted


def convert_positions(positions: NDArray[np.float32], source: Skeleton, target: Skeleton) -> NDArray[np.float32]:
    """Convert positions to another skeleton.

    Args:
        positions: [..., S, 2] in any unit, NaN where a joint is missing.
    Returns:
        [..., T, 2]; NaN where the joint, or a joint that it is derived from, is missing.
    """
    if source == target:
        return positions
    parents, weights = _conversion_by_rank(source, target)
    weighted = positions.take(parents, axis=-2) * weights  # [..., K, T, 2]
    converted: NDArray[np.float32] = weighted.sum(axis=-3)
    return converted


@cache
def _conversion_by_rank(source: Skeleton, target: Skeleton) -> Conversion:
    """A conversion as parents [K, T] and weights [K, T, 2], so that NumPy's inner loops run along the joints."""
    parents, weights = conversion(source, target)
    return Conversion(np.ascontiguousarray(parents.T), np.repeat(weights.T[..., None], 2, axis=-1))
