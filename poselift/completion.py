"""Complete 3D poses with missing joints; the counterpart of `lifting.py`.

Positions are metres in camera axes, from any origin: the network receives each frame relative to its root joint. A
missing root is interpolated linearly in time; before the first and after the last known root, that one is used.
"""

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidPoses
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Prepared, lay_windows, run
from poselift.sequence import PoseSequence


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
    elapsed_s = sequence.times_s - sequence.times_s[0]
    return lay_windows(frames, sequence.missing, elapsed_s, manifest, targets)


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
