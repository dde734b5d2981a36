"""Predicted poses with their true poses, and the scores of all or some of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from poselift.skeletons import Skeleton
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.metrics import (
    auc,
    mpjpe,
    n_mpjpe,
    pck,
    pck_joints,
    procrustes_aligned,
    velocity_error,
)
from poselift_training.evaluation.report import Scores

MM_PER_M = 1000.0


@dataclass(frozen=True)
class ScoredPoses:
    """Predicted and true poses, ordered by sequence.

    Attributes:
        predicted_mm, target_mm: [M, J, 3].
        frames, sequences: [M] row of the frame, and index of the sequence, of each pose.
        chunked: whether the poses are those of windows back to back.
    """

    predicted_mm: Tensor
    target_mm: Tensor
    frames: Tensor
    sequences: Tensor
    skeleton: Skeleton
    chunked: bool

    @staticmethod
    def match(joints: Tensor, frames: Tensor, sequences: Sequences, *, chunked: bool = False) -> "ScoredPoses":
        """Pair predicted poses with the true ones.

        Args:
            joints: [M, J, 3] metres; the root is set to zero, except for windows back to back.
            frames: [M] rows of the predicted frames.
        """
        predicted_mm = joints.double() * MM_PER_M
        if not chunked:
            predicted_mm[:, sequences.skeleton.root] = 0
        target_mm = sequences.joints[frames].double() * (sequences.unit_m * MM_PER_M)
        sequence = sequences.sequence_of_frame[frames]
        return ScoredPoses(predicted_mm, target_mm, frames, sequence, sequences.skeleton, chunked)

    @cached_property
    def errors_mm(self) -> Tensor:
        """Distance of each predicted joint from the true one, [M, J]."""
        distances: Tensor = torch.linalg.vector_norm(self.predicted_mm - self.target_mm, dim=-1)
        return distances

    @cached_property
    def _aligned_mm(self) -> Tensor:
        """Predicted poses, aligned with the true ones as for P-MPJPE; cached, since it is needed for every group."""
        return procrustes_aligned(self.predicted_mm, self.target_mm)

    def by_name(self, names: tuple[str, ...]) -> dict[str, Scores]:
        """Score the sequences grouped by name, in the order of the data.

        Args:
            names: the name of each sequence.
        """
        scores = {}
        for name in dict.fromkeys(names):
            has_name = torch.tensor([other == name for other in names], device=self.sequences.device)
            chosen = has_name[self.sequences]
            if chosen.any():
                scores[name] = self.scores(chosen)
        return scores

    def in_bins(self, values: Tensor, edges: Sequence[float], unit: str) -> dict[str, Scores]:
        """Score the poses grouped by a value, leaving out empty bins.

        Args:
            values: [M], in `unit`.
            edges: increasing, in `unit`; the outermost bins are open.
        """
        between = [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
        names = (f"below {edges[0]:g} {unit}", *between, f"from {edges[-1]:g} {unit}")
        bins = torch.bucketize(values, values.new_tensor(edges), right=True)
        return {name: self.scores(bins == number) for number, name in enumerate(names) if (bins == number).any()}

    def scores(self, chosen: Tensor | None = None) -> Scores:
        """Score the chosen poses, [M] bool, or all."""
        if chosen is None:
            chosen = torch.ones_like(self.frames).bool()
        predicted, target = self.predicted_mm[chosen], self.target_mm[chosen]
        joints = pck_joints(self.skeleton)
        return Scores(
            frames=len(predicted),
            mpjpe_mm=mpjpe(predicted, target).item(),
            p_mpjpe_mm=mpjpe(self._aligned_mm[chosen], target).item(),
            n_mpjpe_mm=n_mpjpe(predicted, target).item(),
            velocity_mm=self._velocity(chosen),
            pck_percent=pck(predicted, target, joints).item(),
            auc_percent=auc(predicted, target, joints).item(),
        )

    def _velocity(self, chosen: Tensor) -> float:
        predicted, target, sequences = self.predicted_mm[chosen], self.target_mm[chosen], self.sequences[chosen]
        if not self.chunked:
            follows = (self.frames[chosen].diff() == 1) & (sequences.diff() == 0)
            return velocity_error(predicted, target, follows).item()
        # The mean of each sequence over all its steps, including those between windows, weighted by its frames.
        frames = sequences.unique_consecutive(return_counts=True)[1]
        parts = zip(predicted.split(frames.tolist()), target.split(frames.tolist()), strict=True)
        errors = torch.stack([velocity_error(*part) for part in parts])
        return float((errors * frames).sum() / frames.sum())
