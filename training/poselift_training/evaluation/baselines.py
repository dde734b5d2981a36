"""Baselines: poses that need no network."""

import torch
from torch import Tensor

from poselift.missing import hold_missing
from poselift_training.data.sequences import Sequences


def mean_pose(training: Sequences, sequences: Sequences) -> Tensor:
    """Use the mean of all training poses for every frame.

    Returns:
        [T, J, 3] relative to the root, in the unit of the data.
    """
    return training.joints.mean(dim=0).expand_as(sequences.joints)


def flat_figure(sequences: Sequences) -> Tensor:
    """Use the 2D keypoints as a flat figure: scaled to the true size in each frame, without depth.

    The scale is the best fit to the true x and y of the frame, so this baseline has more information than a lifter. A
    missing joint keeps its last observed position.

    Returns:
        [T, J, 3] relative to the root, in the unit of the data.
    """
    assert sequences.skeleton.root is not None, "Sequences.join refuses skeletons without a root"
    keypoints = fill_missing(sequences)
    figure = keypoints - keypoints[:, sequences.skeleton.root, None]
    true = sequences.joints[..., :2]
    size = (figure * true).sum((-2, -1), keepdim=True) / (figure**2).sum((-2, -1), keepdim=True).clamp_min(1e-12)
    return torch.cat([size * figure, torch.zeros_like(figure[..., :1])], dim=-1)


def fill_missing(sequences: Sequences) -> Tensor:
    """Keypoints [T, J, 2] with each missing joint at its last observed position in the sequence."""
    if not sequences.keypoints.isnan().any():
        return sequences.keypoints
    parts = torch.split(sequences.keypoints.cpu(), sequences.lengths.tolist())
    return torch.cat([torch.from_numpy(hold_missing(part.numpy())) for part in parts]).to(sequences.keypoints.device)
