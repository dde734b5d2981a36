"""Run a lifter on data with known poses, at the data's own frame rate: as in the papers, or blended as served."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from poselift.artifacts.manifest import Manifest
from poselift.coordinates import mirror
from poselift.errors import InvalidDataset
from poselift.lifters.lifter import Lifter
from poselift.lifting import mirrored_back, windows_per_pass
from poselift.overlapping_windows import Blend, plan_overlapping_windows
from poselift.windows import chunk_indices, window_offsets
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.baselines import fill_missing

# Limits memory: features of a wide embedding.
_FRAMES_PER_PASS = 16_384


@torch.inference_mode()
def predict(
    lifter: Lifter,
    manifest: Manifest,
    sequences: Sequences,
    *,
    mirrored: bool = False,
    blended: bool = False,
    advance: Callable[[int], None] = lambda windows: None,
) -> Tensor:
    """Lift every frame to score.

    Args:
        lifter: in evaluation mode, on the device of the sequences.
        mirrored: lift the mirrored person, and mirror the poses back.
        blended: for a sequence-to-sequence lifter, blend overlapping windows, as the server does, instead of lifting
            windows back to back.
        advance: called with the number of lifted windows, after each batch of them.
    Returns:
        [M, J, 3] metres, in the order of `scored_frames`; the root joint is that of the network.
    """
    frames = sequences.keypoints if manifest.missing_joints == "token" else fill_missing(sequences)
    if manifest.smoothed:
        frames = _smoothed(frames, manifest, sequences)
    if mirrored:
        frames = mirror(frames, manifest.source)
    lift = _lift_centres
    if lifter.config.sequence_to_sequence:
        lift = _lift_blended if blended else _lift_back_to_back
    lifted = torch.cat(list(lift(lifter, manifest, sequences, frames, advance))) * manifest.unit_m
    return mirror(lifted, manifest.target) if mirrored else lifted


def _smoothed(frames: Tensor, manifest: Manifest, sequences: Sequences) -> Tensor:
    """Means of each frame and its two neighbours at the artifact's rate, as in `poselift.windows`."""
    step = _frames_apart(manifest, sequences, 1)
    offsets = torch.tensor([-step, 0, step], device=frames.device)
    return frames[sequences.windows(torch.arange(len(frames), device=frames.device), offsets)].nanmean(dim=1)


def _lift_centres(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    embedded = torch.cat([lifter.embed(part) for part in torch.split(frames, _FRAMES_PER_PASS)])
    offsets = torch.from_numpy(window_offsets(lifter.receptive_field, stride_of(manifest, sequences))).to(frames.device)
    for centres in torch.split(scored_frames(lifter, manifest, sequences), windows_per_pass(lifter)):
        centre = lifter.aggregate(embedded[sequences.windows(centres, offsets)]).centre
        assert centre is not None, "a many-to-one lifter outputs centre poses"
        yield centre
        advance(len(centres))


def _lift_back_to_back(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    rows = _rows_back_to_back(lifter, manifest, sequences)
    for windows in torch.split(rows, windows_per_pass(lifter)):
        yield _poses(lifter, frames[windows])[sequences.valid[windows]]
        advance(len(windows))


def _lift_blended(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    plans = _plan_overlapping(lifter, manifest, sequences)
    rows = torch.cat([windows for windows, _ in plans])
    frames = torch.cat([frames, mirror(frames, manifest.source)])
    outputs = []
    for windows in torch.split(rows, windows_per_pass(lifter)):
        outputs.append(_poses(lifter, frames[windows]).cpu())
        advance(len(windows))
    outputs_by_sequence = torch.split(torch.cat(outputs), [len(windows) for windows, _ in plans])
    for (_, blend), output in zip(plans, outputs_by_sequence, strict=True):
        facing = mirrored_back(output.numpy(), blend, manifest.target)
        yield torch.from_numpy(blend.mix(facing)).to(frames.device)


def _poses(lifter: Lifter, windows: Tensor) -> Tensor:
    poses = lifter(windows).frames
    assert poses is not None, "a sequence-to-sequence lifter outputs all frames"
    return poses[:, :, : lifter.config.joints_out]


def scored_frames(lifter: Lifter, manifest: Manifest, sequences: Sequences, *, blended: bool = False) -> Tensor:
    """Rows [M] of the frames to score, ordered by sequence; with windows back to back some are repeated."""
    if blended or not lifter.config.sequence_to_sequence:
        return sequences.valid.nonzero()[:, 0]
    rows = _rows_back_to_back(lifter, manifest, sequences).flatten()
    return rows[sequences.valid[rows]]


def _rows_back_to_back(lifter: Lifter, manifest: Manifest, sequences: Sequences) -> Tensor:
    """Rows [W, N] of windows back to back; at a stride of s each sequence counts as s interleaved sequences."""
    stride = stride_of(manifest, sequences)
    windows = [
        start + phase + stride * torch.from_numpy(chunk_indices(-(-(length - phase) // stride), lifter.receptive_field))
        for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True)
        for phase in range(min(stride, length))
    ]
    return torch.cat(windows).to(sequences.valid.device)


def _plan_overlapping(lifter: Lifter, manifest: Manifest, sequences: Sequences) -> list[tuple[Tensor, Blend]]:
    """For each sequence, rows [W, N] of the windows that its scored frames need, and how to blend their poses.

    Rows beyond the last frame are those of the mirrored person.
    """
    stride, plans = manifest.temporal_stride, []
    rate = stride / stride_of(manifest, sequences)  # of the artifact, per frame of the data
    for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True):
        targets = sequences.valid[start : start + length].nonzero()[:, 0].cpu().numpy()
        if len(targets):
            times = np.arange(length, dtype=np.float64)
            plan, blend = plan_overlapping_windows(
                times, rate, stride, lifter.receptive_field, targets, smoothed_outputs=manifest.smoothed
            )
            assert np.array_equal(plan.lower, plan.upper), "at the data's own rate samples fall on frames"
            frame = start + plan.lower[plan.index] + len(sequences.valid) * blend.mirrored[:, None]
            plans.append((torch.from_numpy(frame).to(sequences.valid.device), blend))
    return plans


def windows_to_score(lifter: Lifter, manifest: Manifest, sequences: Sequences, *, blended: bool = False) -> int:
    """Number of windows to lift for one pass over the sequences."""
    if not lifter.config.sequence_to_sequence:
        return int(sequences.valid.sum())
    if blended:
        return sum(len(windows) for windows, _ in _plan_overlapping(lifter, manifest, sequences))
    return len(_rows_back_to_back(lifter, manifest, sequences))


def stride_of(manifest: Manifest, sequences: Sequences) -> int:
    """Frames of the data from one sample of a window to the next.

    Raises:
        InvalidDataset: the data has no frames at the times of the samples, or of the neighbours they are smoothed with.
    """
    if manifest.smoothed:
        _frames_apart(manifest, sequences, 1)
    return _frames_apart(manifest, sequences, manifest.temporal_stride)


def _frames_apart(manifest: Manifest, sequences: Sequences, frames: int) -> int:
    """Convert a number of frames at the artifact's rate to frames of the data.

    Raises:
        InvalidDataset: it is not a whole number.
    """
    if sequences.frame_rate_hz is None:
        return frames
    apart = frames * sequences.frame_rate_hz / manifest.frame_rate_hz
    if round(apart) < 1 or not math.isclose(apart, round(apart), rel_tol=1e-6):
        raise InvalidDataset(
            f"{manifest.name} takes a frame every {1000 * frames / manifest.frame_rate_hz:g} ms, and "
            f"data at {sequences.frame_rate_hz:g} frames per second has none at those times: "
            "choose another model (--model)."
        )
    return round(apart)
