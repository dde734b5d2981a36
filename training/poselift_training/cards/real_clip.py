"""Plausibility of the lifted poses of a real clip, whose true poses are unknown."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifting import lift, screen_frames
from poselift.sequence import Sequence
from poselift.skeletons import Skeleton


@dataclass(frozen=True)
class BoneLength:
    """Length of one bone over a clip.

    Attributes:
        deviation_percent: standard deviation in percent of the mean.
    """

    mean_m: float
    deviation_percent: float


@dataclass(frozen=True)
class LiftedClip:
    """A real clip, its poses, and measures of their plausibility.

    Attributes:
        file: name without folders.
        joints: [F, J, 3] metres, camera axes, relative to the root.
        bones: (left, right) or (middle,) bones, by name.
        swaps: number of frames in which a left and a right joint swap places, by name of the joint.
        sides_agree_percent: share of the hips and shoulders seen wide apart whose left-to-right order is as detected.
        head_above_feet_m: [F] height of the head above the higher ankle, in the camera's up direction.
    """

    file: str
    sequence: Sequence
    skeleton: Skeleton
    joints: NDArray[np.floating]
    bones: dict[str, tuple[BoneLength, ...]]
    swaps: dict[str, int]
    sides_agree_percent: float
    head_above_feet_m: NDArray[np.floating]


def lift_clip(
    artifact: Artifact,
    file: Path,
    *,
    skeleton: str | None = None,
    fps: float | None = None,
    image_size: tuple[float, float] | None = None,
) -> LiftedClip:
    """Lift the person who is visible in most frames of a detector's file.

    Args:
        skeleton, fps, image_size: as `read_keypoints` takes them, for files that do not tell.
    Raises:
        InvalidFile, InvalidKeypoints, UnknownSkeleton: as that function.
    """
    tracks = read_keypoints(file, skeleton=skeleton, fps=fps, image_size=image_size).tracks
    sequence = max((track.sequence for track in tracks), key=_frames_seen)
    target, joints = artifact.manifest.target, lift(artifact, sequence).joints
    return LiftedClip(
        file.name,
        sequence,
        target,
        joints,
        bone_lengths(joints, target),
        count_swaps(joints, target),
        _sides_agree(joints, sequence, artifact.manifest),
        _head_above_feet(joints, target),
    )


def _frames_seen(sequence: Sequence) -> int:
    return int((~np.isnan(sequence.keypoints[..., 0])).any(axis=1).sum())


def bone_lengths(joints: NDArray[np.floating], skeleton: Skeleton) -> dict[str, tuple[BoneLength, ...]]:
    """Mean and deviation of every bone's length in poses [F, J, 3], metres."""
    bones: dict[str, tuple[BoneLength, ...]] = {}
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        lengths = np.linalg.norm(joints[:, joint] - joints[:, parent], axis=-1)
        mean = float(lengths.mean())
        name = f"{_without_side(skeleton, parent)} to {_without_side(skeleton, joint)}"
        bone = BoneLength(mean, 100 * float(lengths.std()) / mean)
        bones[name] = (bone, *bones.get(name, ())) if joint in skeleton.left else (*bones.get(name, ()), bone)
    return bones


def count_swaps(joints: NDArray[np.floating], skeleton: Skeleton) -> dict[str, int]:
    """Count the frames in which a left and a right joint swap places, compared with the frame before.

    Args:
        joints: [F, J, 3] poses of a clip whose frames are close together in time.
    Returns:
        Counts by name of the joint, without its side.
    """
    swaps = {}
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        before, after = joints[:-1, [left, right]], joints[1:, [left, right]]
        moved = np.linalg.norm(after - before, axis=-1).sum(axis=-1)
        crossed = np.linalg.norm(after[:, ::-1] - before, axis=-1).sum(axis=-1)
        swaps[_without_side(skeleton, left)] = int((crossed < moved).sum())
    return swaps


def _sides_agree(joints: NDArray[np.floating], sequence: Sequence, manifest: Manifest) -> float:
    detected = screen_frames(sequence, manifest).screen
    agree: list[NDArray[np.bool_]] = []
    for joint in ("hip", "shoulder"):
        seen, lifted = (
            _left_to_right(points, skeleton, joint)
            for points, skeleton in ((detected, manifest.source), (joints, manifest.target))
        )
        wide = np.abs(seen) >= np.nanmedian(np.abs(seen))
        agree.append(seen[wide] * lifted[wide] > 0)
    return 100 * float(np.concatenate(agree).mean())


def _left_to_right(points: NDArray[np.floating], skeleton: Skeleton, joint: str) -> NDArray[np.floating]:
    """Horizontal distance from the left to the right joint in the picture, [F], positive to the right."""
    left, right = (skeleton.joint_names.index(f"{side}_{joint}") for side in ("left", "right"))
    across: NDArray[np.floating] = points[:, right, 0] - points[:, left, 0]
    return across


def _head_above_feet(joints: NDArray[np.floating], skeleton: Skeleton) -> NDArray[np.floating]:
    ankles = [skeleton.joint_names.index(f"{side}_ankle") for side in ("left", "right")]
    head = skeleton.joint_names.index("head")
    height: NDArray[np.floating] = joints[:, ankles, 1].min(axis=1) - joints[:, head, 1]
    return height


def _without_side(skeleton: Skeleton, joint: int) -> str:
    return skeleton.joint_names[joint].removeprefix("left_").removeprefix("right_").replace("_", " ")
