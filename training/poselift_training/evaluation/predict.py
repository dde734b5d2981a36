"""Runs a lifter over data with known poses, frame by frame as papers do it, or as the server does."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from poselift.artifacts.manifest import Manifest
from poselift.coordinates import mirror
from poselift.errors import InvalidDataset
from poselift.lifters.lifter import Lifter
from poselift.windows import Blend, chunk_indices, plan_overlapping_windows, window_offsets
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.baselines import fill_missing

# Bounds on memory: features of a wide embedding, attention over a long window, tokens of all joints.
_FRAMES_PER_PASS = 16_384
_WINDOWS_PER_PASS = 256
_FRAMES_OF_WINDOWS_PER_PASS = 4096


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
    """Lift every frame that is to be scored.

    Args:
        lifter: in evaluation mode, on the device of the sequences.
        mirrored: lift the mirrored person, and mirror the answer back.
        blended: of a sequence-to-sequence lifter, blend windows that overlap, as the server does, instead of laying
            them back to back.
        advance: told how many windows were lifted, after each batch of them.
    Returns:
        [M, J, 3] metres, in the order of `scored_frames`; the root joint is where the network puts it.
    """
    frames = sequences.keypoints if manifest.missing_joints == "token" else fill_missing(sequences)
    if manifest.smoothed:
        frames = _smoothed(frames, manifest, sequences)
    if mirrored:
        frames = mirror(frames, manifest.source)
    answer = _centres
    if lifter.config.sequence_to_sequence:
        answer = _blended if blended else _all_frames
    lifted = torch.cat(list(answer(lifter, manifest, sequences, frames, advance))) * manifest.unit_m
    return mirror(lifted, manifest.target) if mirrored else lifted


def _smoothed(frames: Tensor, manifest: Manifest, sequences: Sequences) -> Tensor:
    """Means of each frame and its two neighbours at the artifact's rate, as `poselift.windows` has them."""
    step = _frames_apart(manifest, sequences, 1)
    offsets = torch.tensor([-step, 0, step], device=frames.device)
    return frames[sequences.windows(torch.arange(len(frames), device=frames.device), offsets)].nanmean(dim=1)


def _centres(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    embedded = torch.cat([lifter.embed(part) for part in torch.split(frames, _FRAMES_PER_PASS)])
    offsets = torch.from_numpy(window_offsets(lifter.receptive_field, stride_of(manifest, sequences))).to(frames.device)
    for centres in torch.split(scored_frames(lifter, manifest, sequences), _WINDOWS_PER_PASS):
        centre = lifter.aggregate(embedded[sequences.windows(centres, offsets)]).centre
        assert centre is not None, "a many-to-one lifter answers with centre poses"
        yield centre
        advance(len(centres))


def _all_frames(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    chunks = _chunks(lifter, manifest, sequences)
    for windows in torch.split(chunks, max(1, _FRAMES_OF_WINDOWS_PER_PASS // lifter.receptive_field)):
        yield _poses(lifter, frames[windows])[sequences.valid[windows]]
        advance(len(windows))


def _blended(
    lifter: Lifter, manifest: Manifest, sequences: Sequences, frames: Tensor, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    plans = _overlapping(lifter, manifest, sequences)
    rows = torch.cat([windows for windows, _ in plans])
    answers = []
    for windows in torch.split(rows, max(1, _FRAMES_OF_WINDOWS_PER_PASS // lifter.receptive_field)):
        answers.append(_poses(lifter, frames[windows]).cpu())
        advance(len(windows))
    of_sequences = torch.split(torch.cat(answers), [len(windows) for windows, _ in plans])
    for (_, blend), answer in zip(plans, of_sequences, strict=True):
        yield torch.from_numpy(blend.mix(answer.numpy())).to(frames.device)


def _poses(lifter: Lifter, windows: Tensor) -> Tensor:
    poses = lifter(windows).frames
    assert poses is not None, "a sequence-to-sequence lifter answers with all frames"
    return poses


def scored_frames(lifter: Lifter, manifest: Manifest, sequences: Sequences, *, blended: bool = False) -> Tensor:
    """Rows [M] of the frames to be scored, sequence by sequence; for windows back to back some come twice."""
    if blended or not lifter.config.sequence_to_sequence:
        return sequences.valid.nonzero()[:, 0]
    rows = _chunks(lifter, manifest, sequences).flatten()
    return rows[sequences.valid[rows]]


def _chunks(lifter: Lifter, manifest: Manifest, sequences: Sequences) -> Tensor:
    """Rows [W, N] of windows back to back; at a stride of s each sequence is s sequences that interleave."""
    stride = stride_of(manifest, sequences)
    windows = [
        start + phase + stride * torch.from_numpy(chunk_indices(-(-(length - phase) // stride), lifter.receptive_field))
        for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True)
        for phase in range(min(stride, length))
    ]
    return torch.cat(windows).to(sequences.valid.device)


def _overlapping(lifter: Lifter, manifest: Manifest, sequences: Sequences) -> list[tuple[Tensor, Blend]]:
    """Rows [W, N] of the windows that the scored frames of each sequence need, and how their answers become poses."""
    stride, plans = stride_of(manifest, sequences), []
    for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True):
        targets = sequences.valid[start : start + length].nonzero()[:, 0].cpu().numpy()
        if len(targets):
            times = np.arange(length, dtype=np.float64)
            plan, blend = plan_overlapping_windows(times, 1.0, stride, lifter.receptive_field, targets)
            assert np.array_equal(plan.lower, plan.upper), "at the data's own rate samples fall on frames"
            rows = torch.from_numpy(start + plan.lower[plan.index]).to(sequences.valid.device)
            plans.append((rows, blend))
    return plans


def windows_to_score(lifter: Lifter, manifest: Manifest, sequences: Sequences, *, blended: bool = False) -> int:
    """How many windows it takes to score the sequences once."""
    if not lifter.config.sequence_to_sequence:
        return int(sequences.valid.sum())
    if blended:
        return sum(len(windows) for windows, _ in _overlapping(lifter, manifest, sequences))
    return len(_chunks(lifter, manifest, sequences))


def stride_of(manifest: Manifest, sequences: Sequences) -> int:
    """Frames of the data between two samples of a window.

    Raises:
        InvalidDataset: the data has no frames at the times of the samples, or of those that they are smoothed with.
    """
    if manifest.smoothed:
        _frames_apart(manifest, sequences, 1)
    return _frames_apart(manifest, sequences, manifest.temporal_stride)


def _frames_apart(manifest: Manifest, sequences: Sequences, frames: int) -> int:
    """How many frames of the data so many at the artifact's own rate are."""
    if sequences.frame_rate_hz is None:
        return frames
    apart = frames * sequences.frame_rate_hz / manifest.frame_rate_hz
    if round(apart) < 1 or not math.isclose(apart, round(apart), rel_tol=1e-6):
        raise InvalidDataset(
            f"{manifest.name} takes a frame every {1000 * frames / manifest.frame_rate_hz:g} ms, and "
            f"data at {sequences.frame_rate_hz:g} frames per second has none at those times."
        )
    return round(apart)
