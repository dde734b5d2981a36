"""Lift data with known poses as the server would: at any frame rate, as finished clips or as live streams.

The windows are built by the code that the server uses: `lifting` for clips, `averaged_window` for streams.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poselift.artifacts.manifest import Manifest
from poselift.averaged_window import stream_window
from poselift.lifters.lifter import Lifter, answers
from poselift.lifting import Lifted, Prepared, finish, lay_windows, windows_per_pass
from poselift.live_window import KeptFrames
from poselift.missing import hold_last_seen, hold_missing
from poselift.sequence import Sequence
from poselift_training.data.sequences import Sequences


class Served(NamedTuple):
    """Poses as in the server's responses.

    Attributes:
        joints: [M, J, 3] metres, the root at zero.
        expected_error_m: [M, J]; None for a network without expected errors.
    """

    joints: Tensor
    expected_error_m: Tensor | None


@torch.inference_mode()
def lift_as_served(
    lifter: Lifter,
    manifest: Manifest,
    sequences: Sequences,
    *,
    lookahead: int | None = None,
    known: Tensor | None = None,
    advance: Callable[[int], None] = lambda poses: None,
) -> Served:
    """Lift every frame to score, each sequence as if it were sent to the server.

    Args:
        lifter: in evaluation mode, on the device of the sequences, which have a frame rate.
        lookahead: frames after each one that may be used for its pose, as in a live stream; None: the whole sequence.
        known: [S, K, 2] rows of what is told of each sequence, see `poselift.known`; None: nothing.
        advance: called with the number of new poses, after each batch of them.
    Returns:
        Poses in the order of the frames.
    Raises:
        InvalidKeypoints: the lookahead is longer than half of the window.
    """
    if known is not None:
        rows = known.to(sequences.keypoints)[sequences.sequence_of_frame]
        sequences = replace(sequences, keypoints=torch.cat([sequences.keypoints, rows], dim=1))
    prepared = (
        _prepare_clips(manifest, sequences) if lookahead is None else _prepare_streams(manifest, sequences, lookahead)
    )
    lifted: list[Lifted] = []
    for batch in _batches(prepared, windows_per_pass(lifter)):
        lifted += _run(lifter, manifest, batch, sequences.keypoints.device)
        advance(sum(len(part.imputed) for part in batch))
    joints = torch.from_numpy(np.concatenate([part.joints for part in lifted]))
    expected = [part.expected_error_m for part in lifted if part.expected_error_m is not None]
    expected_error_m = torch.from_numpy(np.concatenate(expected)) if expected else None
    return Served(joints.to(sequences.valid.device), expected_error_m)


def _prepare_clips(manifest: Manifest, sequences: Sequences) -> Iterator[Prepared]:
    fill = hold_missing if manifest.missing_joints == "hold" else _unchanged
    for screen, targets in _sequences_to_lift(sequences):
        times_s = Sequence.times_at(_frame_rate(sequences), len(screen))
        yield lay_windows(fill(screen), _missing(screen, manifest), times_s, manifest, targets)


def _prepare_streams(manifest: Manifest, sequences: Sequences, lookahead: int) -> Iterator[Prepared]:
    hold = hold_last_seen if manifest.missing_joints == "hold" else _unchanged
    window = stream_window(manifest, _frame_rate(sequences), lookahead)
    for screen, targets in _sequences_to_lift(sequences):
        kept = KeptFrames(0, hold(screen), _missing(screen, manifest))
        for run in np.split(targets, np.flatnonzero(np.diff(targets) != 1) + 1):
            yield window.prepare(kept, range(int(run[0]), int(run[-1]) + 1))


def _missing(screen: NDArray[np.float32], manifest: Manifest) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = np.isnan(screen[:, : manifest.source.n_joints, 0])
    return missing


def _unchanged(screen: NDArray[np.float32]) -> NDArray[np.float32]:
    return screen


def _sequences_to_lift(sequences: Sequences) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Keypoints [F, J, 2], and what is known below them, of each sequence with frames to score, and these frames."""
    lengths = sequences.lengths.tolist()
    parts = zip(sequences.keypoints.cpu().split(lengths), sequences.valid.cpu().split(lengths), strict=True)
    for screen, valid in parts:
        if valid.any():
            yield screen.numpy(), valid.nonzero()[:, 0].numpy()


def _frame_rate(sequences: Sequences) -> float:
    assert sequences.frame_rate_hz is not None, "requests have a frame rate"
    return sequences.frame_rate_hz


def _batches(prepared: Iterable[Prepared], windows: int) -> Iterator[list[Prepared]]:
    """Group parts into batches of at least that many windows, except for the last batch."""
    batch: list[Prepared] = []
    for part in prepared:
        batch.append(part)
        if sum(len(other.index) for other in batch) >= windows:
            yield batch
            batch = []
    if batch:
        yield batch


def _run(lifter: Lifter, manifest: Manifest, batch: list[Prepared], device: torch.device) -> Iterator[Lifted]:
    frames = np.concatenate([part.frames for part in batch])
    firsts = np.cumsum([0, *(len(part.frames) for part in batch)])
    index = np.concatenate([part.index + first for part, first in zip(batch, firsts, strict=False)])
    embedded = lifter.embed(torch.from_numpy(frames).to(device))
    windows = torch.from_numpy(index).to(device).split(windows_per_pass(lifter))
    ahead = _ahead(batch, device)
    counts: list[Tensor] | list[None] = [None] * len(windows) if ahead is None else list(ahead.split(len(windows[0])))
    passes = [answers(lifter, embedded[part], later) for part, later in zip(windows, counts, strict=True)]
    outputs = finish(torch.cat(passes), manifest).cpu().numpy()
    lengths = np.cumsum([len(part.index) for part in batch])[:-1]
    for part, output in zip(batch, np.split(outputs, lengths), strict=True):
        yield part.poses(output, manifest)


def _ahead(batch: list[Prepared], device: torch.device) -> Tensor | None:
    ahead = [part.ahead for part in batch if part.ahead is not None]
    return torch.from_numpy(np.concatenate(ahead)).to(device) if ahead else None
