"""Complete 3D poses with missing joints; the counterpart of `lifting.py`.

Positions are metres in camera axes, from any origin: the network receives each frame relative to its root joint. A
missing root is interpolated linearly in time; before the first and after the last known root, that one is used.
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

# A position farther from the origin is an error.
MAX_POSITION_M = 1e4


@dataclass(frozen=True)
class PoseSequence:
    """The 3D poses of one person over time, with missing joints.

    Attributes:
        joints: [F, J, 3] float64 metres, camera axes (x right, y down, z forward), any origin; NaN where missing.
        times_s: [F] strictly increasing, seconds.
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
        """The joints [F, J] to fill in."""
        return np.asarray(np.isnan(self.joints).any(axis=-1))

    @property
    def root_m(self) -> NDArray[np.float64]:
        """Given or interpolated positions of the root joint, [F, 3] metres."""
        assert self.skeleton.root is not None, "poses of a skeleton without a root are refused"
        given = self.joints[:, self.skeleton.root]
        known = ~np.isnan(given).any(axis=-1)
        return np.stack([np.interp(self.times_s, self.times_s[known], axis[known]) for axis in given.T], axis=-1)


def check_root(joints: NDArray[np.floating], skeleton: Skeleton, path: str) -> None:
    """Refuse poses [F, J, 3] that cannot be expressed relative to their root joint.

    Args:
        path: name of the field that they came from, for the error.
    Raises:
        InvalidPoses: the skeleton has no root, or it is missing in all frames.
    """
    if skeleton.root is None:
        raise InvalidPoses(f"Poses of {skeleton.name} cannot be completed: it has no pelvis.", path="skeleton")
    if np.isnan(joints[:, skeleton.root]).any(axis=-1).all():
        name = skeleton.joint_names[skeleton.root]
        raise InvalidPoses(f"The {name} must be given in one frame at least: the others are relative to it.", path=path)


def prepare(sequence: PoseSequence, manifest: Manifest, targets: NDArray[np.int64] | None = None) -> Prepared:
    """Convert poses to the input of one network.

    Args:
        targets: [T] indices of the frames to complete; None for all.
    Raises:
        InvalidPoses: the poses are of another skeleton than the network's.
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
    """Fill in missing joints from root-relative poses.

    Args:
        poses: [T, J, 3] metres, the output of a network.
        targets: [T] indices of their frames; None for all.
    Returns:
        [T, J, 3] metres, from the origin of the sequence. Given joints are unchanged.
    """
    chosen = slice(None) if targets is None else targets
    predicted = sequence.root_m[chosen, None] + poses
    return np.where(sequence.missing[chosen, :, None], predicted, sequence.joints[chosen])


def complete(artifact: Artifact, sequence: PoseSequence, *, mirrored_average: bool = False) -> Lifted:
    """Complete one sequence in this process.

    Args:
        mirrored_average: also complete the mirrored person and average both; twice the work.
    Raises:
        InvalidArtifact: the network does not complete poses.
        InvalidPoses: as `prepare`.
    """
    artifact.manifest.require(Task.COMPLETE)
    prepared = prepare(sequence, artifact.manifest)
    predicted = run(artifact, prepared, mirrored_average=mirrored_average)
    return Lifted(fill(sequence, predicted.joints), predicted.imputed)
