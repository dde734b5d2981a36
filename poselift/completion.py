"""3D poses with missing joints, and networks that complete them; as `lifting.py` does for keypoints.

Poses are metres in camera axes, from any origin: a network sees each frame relative to its root joint. Where the root
is missing it is taken to lie on the straight line between those before and after it in time, or where the nearest is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidPoses
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Prepared, check_times, lay_windows, run
from poselift.skeletons import Skeleton

# Beyond any room, and any valley: what is farther from the origin is a broken number.
MAX_POSITION_M = 1e4


@dataclass(frozen=True)
class PoseSequence:
    """The 3D poses of one person over time, some joints of which are missing.

    Attributes:
        joints: [F, J, 3] float64 metres, camera axes (x right, y down, z forward), any origin; NaN where missing.
        times_s: [F] strictly increasing.
    Raises:
        InvalidPoses: a shape is wrong, a value is infinite, or the root joint is missing in all frames.
        InvalidKeypoints: the times do not increase.
    """

    joints: NDArray[np.float64]
    skeleton: Skeleton
    times_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        frames, expected = len(self.joints), self.skeleton.n_joints
        if self.joints.shape != (frames, expected, 3) or frames == 0:
            raise InvalidPoses(
                f"Poses of skeleton {self.skeleton.name} must have the shape [frames, {expected}, 3] with at least one "
                f"frame, not {list(self.joints.shape)}.",
                path="poses",
            )
        if np.isinf(self.joints).any():
            raise InvalidPoses("Poses must be finite numbers.", path="poses")
        check_root(self.joints, self.skeleton, "poses")
        check_times(self.times_s, frames)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """The joints [F, J] that are to be made up."""
        return np.asarray(np.isnan(self.joints).any(axis=-1))

    @property
    def root_m(self) -> NDArray[np.float64]:
        """Where the root joint is, or is taken to be, [F, 3]."""
        assert self.skeleton.root is not None, "poses of a skeleton without a root are refused"
        given = self.joints[:, self.skeleton.root]
        there = ~np.isnan(given).any(axis=-1)
        return np.stack([np.interp(self.times_s, self.times_s[there], axis[there]) for axis in given.T], axis=-1)


def check_root(joints: NDArray[np.floating], skeleton: Skeleton, path: str) -> None:
    """Refuse poses [F, J, 3] that cannot be taken relative to their root joint.

    Raises:
        InvalidPoses: the skeleton has no root, or no frame has it.
    """
    if skeleton.root is None:
        raise InvalidPoses(f"Poses of {skeleton.name} cannot be completed: it has no pelvis.", path="skeleton")
    if np.isnan(joints[:, skeleton.root]).any(axis=-1).all():
        name = skeleton.joint_names[skeleton.root]
        raise InvalidPoses(f"The {name} must be given in one frame at least: the others are relative to it.", path=path)


def prepare(sequence: PoseSequence, manifest: Manifest, targets: NDArray[np.int64] | None = None) -> Prepared:
    """Turn poses into frames and windows for one network.

    Args:
        targets: [T] the frames to complete; None for all.
    Raises:
        InvalidPoses: they are those of another skeleton.
    """
    if sequence.skeleton != manifest.source:
        raise InvalidPoses(
            f"{manifest.name} completes poses of {manifest.input_skeleton}, not of {sequence.skeleton.name}.",
            path="skeleton",
        )
    relative = (sequence.joints - sequence.root_m[:, None]) / manifest.unit_m
    relative[:, manifest.source.root] = 0
    frames = relative.astype(np.float32)
    frames[np.isnan(frames).any(axis=-1)] = np.nan
    return lay_windows(frames, sequence.missing, sequence.times_s, manifest, targets)


def fill(
    sequence: PoseSequence, poses: NDArray[np.floating], targets: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Put a network's root-relative poses [T, J, 3] where joints are missing.

    Args:
        targets: [T] the frames they are of; None for all.
    Returns:
        [T, J, 3] metres, from the origin of the sequence. What was given is there as it was.
    """
    wanted = slice(None) if targets is None else targets
    made = sequence.root_m[wanted, None] + poses
    return np.where(sequence.missing[wanted, :, None], made, sequence.joints[wanted])


def complete(artifact: Artifact, sequence: PoseSequence, *, mirrored_average: bool = False) -> Lifted:
    """Complete one sequence in this process.

    Args:
        mirrored_average: also complete the mirrored person and average; twice the work.
    Raises:
        InvalidArtifact: the network does something else.
        InvalidPoses: as `prepare`.
    """
    artifact.manifest.require(Task.COMPLETE)
    prepared = prepare(sequence, artifact.manifest)
    made = run(artifact, prepared, mirrored_average=mirrored_average)
    return Lifted(fill(sequence, made.joints), made.imputed)
