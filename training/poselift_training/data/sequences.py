"""Sequences of people with known 3D poses, stored in a few flat tensors, and training windows cut from them.

Letters: T frames of all sequences together, S sequences, J joints, B windows, N frames per window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poselift.coordinates import mirror, root_relative
from poselift.errors import InvalidDataset
from poselift.skeletons import Skeleton
from poselift.windows import window_indices, window_offsets
from poselift_training.data import Batch


@dataclass(frozen=True)
class Recording:
    """One person seen by one camera, as read from a file.

    Attributes:
        keypoints: [F, J, 2] screen coordinates.
        joints: [F, J, 3] camera coordinates, not yet relative to the root, in the unit of the data set.
        valid: [F] bool, the frames to score; None: all.
        intrinsics: [9] from `poselift.coordinates.screen_intrinsics`; None: unknown.
        up: [3] camera coordinates, the direction away from the floor; None: unknown.
    """

    subject: str
    action: str
    camera: str
    keypoints: NDArray[np.floating]
    joints: NDArray[np.floating]
    valid: NDArray[np.bool_] | None = None
    intrinsics: NDArray[np.float64] | None = None
    up: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Sequences:
    """The sequences of one data set, concatenated in flat tensors on one device.

    Attributes:
        keypoints: [T, J, 2] float32 screen coordinates; NaN where a joint is missing.
        joints: [T, J, 3] float32 camera coordinates relative to the root, whose row is zero.
        roots: [T, 3] float32 camera coordinates of the root.
        starts, lengths: [S] int64, first row and number of frames of each sequence.
        subjects, actions, cameras: S names each.
        unit_m: metres per unit of `joints` and `roots`.
        frame_rate_hz: None if the data set mixes rates and its protocol ignores them.
        valid: [T] bool, the frames to score.
        intrinsics: [S, 9]; None: the cameras are unknown.
        up: [S, 3] camera coordinates, the direction away from the floor; None: unknown.
    """

    keypoints: Tensor
    joints: Tensor
    roots: Tensor
    starts: Tensor
    lengths: Tensor
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    cameras: tuple[str, ...]
    skeleton: Skeleton
    unit_m: float
    frame_rate_hz: float | None
    valid: Tensor
    intrinsics: Tensor | None = None
    up: Tensor | None = None

    @classmethod
    def join(
        cls, recordings: Sequence[Recording], skeleton: Skeleton, *, unit_m: float, frame_rate_hz: float | None
    ) -> Self:
        """Concatenate recordings.

        Raises:
            InvalidDataset: there is none, one has no frame or keypoints and joints of different shapes, or the skeleton
                has no root.
        """
        for recording in recordings:
            _check_recording(recording, skeleton)
        if not recordings:
            raise InvalidDataset("The data set holds no sequence of the chosen split.")
        if skeleton.root is None:
            raise InvalidDataset(f"Poses of skeleton {skeleton.name} cannot be trained on: it has no root joint.")
        lengths = torch.tensor([len(recording.joints) for recording in recordings])
        joints = torch.from_numpy(np.concatenate([recording.joints for recording in recordings])).double()
        return cls(
            keypoints=torch.from_numpy(np.concatenate([recording.keypoints for recording in recordings])).float(),
            joints=root_relative(joints, skeleton.root).float(),
            roots=joints[:, skeleton.root].float(),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            subjects=tuple(recording.subject for recording in recordings),
            actions=tuple(recording.action for recording in recordings),
            cameras=tuple(recording.camera for recording in recordings),
            skeleton=skeleton,
            unit_m=unit_m,
            frame_rate_hz=frame_rate_hz,
            valid=torch.from_numpy(np.concatenate([_valid(recording) for recording in recordings])),
            intrinsics=_stack_if_all_known([recording.intrinsics for recording in recordings]),
            up=_stack_if_all_known([recording.up for recording in recordings]),
        )

    def to(self, device: torch.device | str) -> "Sequences":
        """The same sequences on another device."""
        return replace(
            self,
            keypoints=self.keypoints.to(device),
            joints=self.joints.to(device),
            roots=self.roots.to(device),
            starts=self.starts.to(device),
            lengths=self.lengths.to(device),
            valid=self.valid.to(device),
            intrinsics=None if self.intrinsics is None else self.intrinsics.to(device),
            up=None if self.up is None else self.up.to(device),
        )

    def every(self, step: int) -> "Sequences":
        """Keep the first frame of each sequence and every `step`-th after it, which lowers the frame rate."""
        kept = self.frame_indices % step == 0
        lengths = -(-self.lengths // step)
        return replace(
            self,
            keypoints=self.keypoints[kept],
            joints=self.joints[kept],
            roots=self.roots[kept],
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            frame_rate_hz=None if self.frame_rate_hz is None else self.frame_rate_hz / step,
            valid=self.valid[kept],
        )

    @cached_property
    def sequence_of_frame(self) -> Tensor:
        """[T] int64, the index of each frame's sequence."""
        return torch.repeat_interleave(self.lengths)

    @cached_property
    def frame_indices(self) -> Tensor:
        """[T] int64, the index of each frame within its sequence, from 0."""
        return torch.arange(len(self.valid), device=self.valid.device) - self.starts[self.sequence_of_frame]

    def windows(self, centres: Tensor, offsets: Tensor) -> Tensor:
        """Rows of the windows around some frames; past the ends of a sequence its edge frames are repeated.

        Args:
            centres: [B] int64, rows of the middle frames.
            offsets: [N] int64 from `poselift.windows.window_offsets`.
        Returns:
            [B, N] int64, rows of the flat tensors.
        """
        sequence = self.sequence_of_frame[centres]
        start, last = self.starts[sequence], self.lengths[sequence] - 1
        return start[:, None] + window_indices(centres - start, offsets, last[:, None])

    def back_to_back(self, receptive_field: int, stride: int) -> Tensor:
        """Rows [W] of the middle frames of windows back to back, which contain each frame once.

        Past the ends of a sequence its edge frames are repeated. At a stride of s each sequence counts as s interleaved
        sequences.
        """
        starts = self.starts.tolist()
        centres = [
            starts[number] + phase + stride * _chunk_centres(frames, receptive_field)
            for number, phase, frames in _interleaved(self.lengths, stride)
        ]
        return torch.cat(centres)


def _interleaved(lengths: Tensor, stride: int) -> Iterator[tuple[int, int, int]]:
    """Every `stride`-th frame of sequences of some lengths [S]: number of the sequence, first frame, how many."""
    for number, length in enumerate(lengths.tolist()):
        for phase in range(min(stride, length)):
            yield number, phase, -(-(length - phase) // stride)


def _count_chunks(frames: int, receptive_field: int) -> int:
    return -(-frames // receptive_field)


def _chunk_centres(frames: int, receptive_field: int) -> Tensor:
    """Middle frames [W] of windows back to back, which extend past both ends of a sequence by the same amount.

    Source: the official training of MixSTE, from VideoPose3D.
    """
    windows = _count_chunks(frames, receptive_field)
    padding = (windows * receptive_field - frames) // 2
    return torch.arange(windows) * receptive_field + (receptive_field - 1) // 2 - padding


def count_windows(lengths: Tensor, *, frames: int, stride: int, back_to_back: bool) -> int:
    """The number of windows that `WindowBatches` cuts from sequences of some lengths [S], without mirror images."""
    if not back_to_back:
        return int(lengths.sum())
    return sum(_count_chunks(part, frames) for _, _, part in _interleaved(lengths, stride))


def check_fills_batch(windows: int, batch_size: int) -> None:
    """Refuse data that does not fill a batch.

    Raises:
        InvalidDataset: there are fewer windows than one step takes.
    """
    if windows < batch_size:
        raise InvalidDataset(
            f"The data has {windows} windows, but one step takes {batch_size}: lower the batch size "
            f"(-o batch_size={max(windows, 1)} or less), or add recordings.",
            path="batch_size",
        )


class WindowBatches:
    """Training windows around every frame or back to back, plain and mirrored, in a new random order in each epoch.

    `batch` is a pure function of the seed and the step. A step's windows are gathered from the flat tensors in two
    look-ups, on the device of the sequences. The data is stored once, or twice with its mirror image.

    Args:
        frames: frames per window, N.
        stride: frames from one window frame to the next.
        batch_size: windows per step.
        mirrored: add the mirror image of each window as a window of its own, which doubles the epoch.
        back_to_back: put each frame into only one window, for lifters that learn from all frames of a window.
    Raises:
        InvalidDataset: as `check_fills_batch`.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        frames: int,
        stride: int,
        batch_size: int,
        seed: int,
        mirrored: bool = True,
        back_to_back: bool = False,
    ) -> None:
        self._sequences = sequences
        self._offsets = torch.from_numpy(window_offsets(frames, stride)).to(sequences.keypoints.device)
        self._batch_size = batch_size
        self._seed = seed
        centres = sequences.back_to_back(frames, stride) if back_to_back else torch.arange(len(sequences.keypoints))
        self._centres = centres.to(sequences.keypoints.device)
        self._keypoints, self._joints = sequences.keypoints, sequences.joints
        self._items = len(centres) * (1 + mirrored)
        if mirrored:
            self._keypoints = torch.cat([self._keypoints, mirror(self._keypoints, sequences.skeleton)])
            self._joints = torch.cat([self._joints, mirror(self._joints, sequences.skeleton)])
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        check_fills_batch(self._items, batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in one pass; windows that would make a short last step are left out."""
        return self._items // self._batch_size

    def batch(self, step: int) -> Batch:
        """The windows of one step, [batch_size, N, J, ...]."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        first = step_in_epoch * self._batch_size
        return self.windows(self._shuffled(epoch)[first : first + self._batch_size])

    def windows(self, items: Tensor) -> Batch:
        """The windows of given items [B]: item w < W is the w-th of W windows, and item W + w its mirror image."""
        windows, frames = len(self._centres), len(self._sequences.keypoints)
        rows = self._sequences.windows(self._centres[items % windows], self._offsets)
        rows = rows + (items // windows * frames)[:, None]
        keypoints = _gather(self._keypoints, rows)
        return Batch(windows=keypoints, clean=keypoints, joints=_gather(self._joints, rows))

    def _shuffled(self, epoch: int) -> Tensor:
        """Order of all items in one epoch; cached until another epoch is requested."""
        if self._order[0] != epoch:
            state = np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)
            # Drawn on the CPU, so that the order is the same on every device.
            generator = torch.Generator().manual_seed(int(state[0]))
            order = torch.randperm(self._items, generator=generator)
            self._order = (epoch, order.to(self._keypoints.device))
        return self._order[1]


def _gather(frames: Tensor, rows: Tensor) -> Tensor:
    """`frames[rows]`, but four times as fast on a CPU, since whole rows are copied."""
    return frames.index_select(0, rows.flatten()).view(*rows.shape, *frames.shape[1:])


def _stack_if_all_known(arrays: Sequence[NDArray[np.floating] | None]) -> Tensor | None:
    """Stack one array per recording; None if one of them is None."""
    known = [array for array in arrays if array is not None]
    return torch.from_numpy(np.stack(known)).float() if len(known) == len(arrays) else None


def _valid(recording: Recording) -> NDArray[np.bool_]:
    return np.ones(len(recording.joints), dtype=np.bool_) if recording.valid is None else recording.valid


def _check_recording(recording: Recording, skeleton: Skeleton) -> None:
    frames, joints = len(recording.joints), skeleton.n_joints
    shapes = (recording.keypoints.shape, recording.joints.shape, _valid(recording).shape)
    if frames == 0 or shapes != ((frames, joints, 2), (frames, joints, 3), (frames,)):
        raise InvalidDataset(
            f"The sequence {recording.subject} {recording.action} (camera {recording.camera}) must have keypoints "
            f"[frames, {joints}, 2] and joints [frames, {joints}, 3] of the same number of frames, "
            f"not {list(shapes[0])} and {list(shapes[1])}."
        )
