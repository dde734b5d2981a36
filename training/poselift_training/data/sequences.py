"""Recorded people with known 3D poses, all in a few flat tensors, and the windows that training cuts from them.

Letters: T frames of all sequences together, S sequences, J joints, B windows, N frames per window.
"""

from collections.abc import Sequence
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
    """One person before one camera, as a reader finds it in a file.

    Attributes:
        keypoints: [F, J, 2] screen coordinates.
        joints: [F, J, 3] camera coordinates, not yet relative to the root, in the unit of the data set.
        valid: [F] bool, the frames to be scored; None: all.
        intrinsics: [9] of `poselift.coordinates.screen_intrinsics`, where they are known.
        up: [3] camera coordinates, the direction away from the floor, where it is known.
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
    """Sequences of one data set, one after the other in flat tensors on one device.

    Attributes:
        keypoints: [T, J, 2] float32 screen coordinates; NaN where a joint is missing.
        joints: [T, J, 3] float32 camera coordinates relative to the root, whose row is zero.
        roots: [T, 3] float32, where the root stood before the camera.
        starts, lengths: [S] int64, where each sequence lies.
        subjects, actions, cameras: S names each.
        unit_m: metres per unit of `joints` and `roots`.
        frame_rate_hz: None where a data set mixes rates and its protocol takes frame by frame regardless.
        valid: [T] bool, the frames to be scored.
        intrinsics: [S, 9], or None where the cameras are not known.
        up: [S, 3] camera coordinates, the direction away from the floor; None where it is not known.
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
        """Lay recordings one after the other.

        Raises:
            InvalidDataset: there is none, or one has keypoints and joints of different shapes or no frame.
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
            intrinsics=_of_all([recording.intrinsics for recording in recordings]),
            up=_of_all([recording.up for recording in recordings]),
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
        """The first frame of each sequence and every `step`-th one after it: the same films at a lower frame rate."""
        kept = self.places % step == 0
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
        """[T] int64, the sequence that each frame belongs to."""
        return torch.repeat_interleave(self.lengths)

    @cached_property
    def places(self) -> Tensor:
        """[T] int64, which frame of its sequence each one is."""
        return torch.arange(len(self.valid), device=self.valid.device) - self.starts[self.sequence_of_frame]

    def windows(self, centres: Tensor, offsets: Tensor) -> Tensor:
        """Frames of the windows around some frames, none reaching into the next sequence.

        Args:
            centres: [B] int64, rows of the flat tensors.
            offsets: [N] int64 from `poselift.windows.window_offsets`.
        Returns:
            [B, N] int64, rows of the flat tensors.
        """
        sequence = self.sequence_of_frame[centres]
        start, last = self.starts[sequence], self.lengths[sequence] - 1
        return start[:, None] + window_indices(centres - start, offsets, last[:, None])

    def back_to_back(self, receptive_field: int, stride: int) -> Tensor:
        """Middle frames [W] of windows that hold each frame once; beyond the ends the edge frames are repeated.

        At a stride of s each sequence is s sequences that interleave.
        """
        centres = [
            start + phase + stride * _chunk_centres(-(-(length - phase) // stride), receptive_field)
            for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)
            for phase in range(min(stride, length))
        ]
        return torch.cat(centres)


def _chunk_centres(frames: int, receptive_field: int) -> Tensor:
    """Middle frames [W] of windows back to back that reach over both ends of a sequence alike.

    Source: the official training of MixSTE, from VideoPose3D.
    """
    windows = -(-frames // receptive_field)
    over = (windows * receptive_field - frames) // 2
    return torch.arange(windows) * receptive_field + (receptive_field - 1) // 2 - over


class WindowBatches:
    """Training windows around every frame or back to back, plain and mirrored, in an order shuffled for each epoch.

    `batch` is a pure function of the seed and the step. A step's windows are gathered from the flat tensors in two
    look-ups, on the device that the sequences are on.
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
        """Lay out the windows; the data itself is kept once, or twice with its mirror image.

        Args:
            frames: frames per window, N.
            stride: frames from one of them to the next.
            batch_size: windows per step.
            mirrored: whether each window also comes mirrored, as a window of its own; that doubles the epoch.
            back_to_back: whether each frame is in one window alone, for lifters that learn from all frames of a window.
        Raises:
            InvalidDataset: there are fewer windows than one step takes.
        """
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
        if not self.steps_per_epoch:
            raise InvalidDataset(f"The data set has {self._items} windows, but one step takes {batch_size}.")

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in one pass. The windows that would make a short last step wait for another epoch's order."""
        return self._items // self._batch_size

    def batch(self, step: int) -> Batch:
        """The windows of one step, [batch_size, N, J, ...]."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        first = step_in_epoch * self._batch_size
        return self.windows(self._shuffled(epoch)[first : first + self._batch_size])

    def windows(self, items: Tensor) -> Batch:
        """The windows of given items [B]: item w is the w-th window, of W in all, and item W + w the same mirrored."""
        windows, frames = len(self._centres), len(self._sequences.keypoints)
        rows = self._sequences.windows(self._centres[items % windows], self._offsets)
        rows = rows + (items // windows * frames)[:, None]
        keypoints = _take(self._keypoints, rows)
        return Batch(windows=keypoints, clean=keypoints, joints=_take(self._joints, rows))

    def _shuffled(self, epoch: int) -> Tensor:
        """Order of all items in one epoch; kept until another epoch is asked for."""
        if self._order[0] != epoch:
            state = np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)
            # Drawn on the CPU, so that every device sees the same order.
            generator = torch.Generator().manual_seed(int(state[0]))
            order = torch.randperm(self._items, generator=generator)
            self._order = (epoch, order.to(self._keypoints.device))
        return self._order[1]


def _take(frames: Tensor, rows: Tensor) -> Tensor:
    """`frames[rows]`, four times as fast on a CPU: whole rows are copied at once."""
    return frames.index_select(0, rows.flatten()).view(*rows.shape, *frames.shape[1:])


def _of_all(arrays: Sequence[NDArray[np.floating] | None]) -> Tensor | None:
    """One array per recording, stacked; None where not all have one."""
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
