"""The interface that every network has, for serving and for training.

Shapes: B windows, N frames of a window (the receptive field), J joints, C features per frame.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor


class Task(StrEnum):
    """What a network does with windows of frames."""

    LIFT = "lift"
    """Lift keypoints in screen coordinates to 3D poses."""
    COMPLETE = "complete"
    """Fill in the missing joints of root-relative 3D poses."""

    @property
    def done(self) -> str:
        """The predicate of a sentence about a model of this task."""
        return "lifts keypoints" if self is Task.LIFT else "completes 3D poses"

    @property
    def dimensions(self) -> int:
        """Coordinates of a joint in the network's input."""
        return 2 if self is Task.LIFT else 3


@dataclass(frozen=True)
class Poses:
    """The output of a network for a batch of windows.

    Positions are in root-relative camera space (x right, y down, z forward), in the unit of the training data.

    Attributes:
        centre: [B, J, 3], the pose of the middle frame (index N // 2), or of the target of a live window; None for a
            network without such a head.
        frames: [B, N, J, 3], one pose per frame; None if the network has no such head or skipped it.
        expected_error: [B, J], the expected distance of each joint of `centre` to its true position; None for a network
            that does not estimate it.
    """

    centre: Tensor | None
    frames: Tensor | None
    expected_error: Tensor | None = None

    @property
    def answer(self) -> Tensor:
        """The output in eval mode, as one tensor.

        Returns:
            The pose of one frame, [B, J, 3], or of all frames, [B, N, J, 3], of a sequence-to-sequence network; with
            expected errors as a fourth column, if there are any.
        """
        answer = self.frames if self.centre is None else self.centre
        assert answer is not None, "a network has at least one head"
        return answer if self.expected_error is None else torch.cat((answer, self.expected_error[..., None]), dim=-1)


class LifterConfig(Protocol):
    """The configuration of a network: a frozen dataclass of plain numbers, enough to build the network again.

    Attributes:
        sequence_to_sequence: whether the network returns a pose for every frame of a window (`Poses.frames`), or for
            its middle frame alone (`Poses.centre`).
        lifts_targets: whether it is a `TargetLifter`.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    sequence_to_sequence: ClassVar[bool]
    lifts_targets: ClassVar[bool]

    @property
    def frames(self) -> int:
        """Frames per window, N."""

    @property
    def channels(self) -> int:
        """Width of the tokens."""

    @property
    def joints_in(self) -> int:
        """Joints of a frame."""

    @property
    def joints_out(self) -> int:
        """Joints of a 3D pose."""

    @property
    def mask_token(self) -> bool:
        """Whether joints may be missing (NaN)."""


class Lifter(Protocol):
    """A network over windows of frames.

    In eval mode the output of `embed` for a frame depends on that frame alone, so overlapping windows share it:
    `lifter(frames[index])` equals `lifter.aggregate(lifter.embed(frames)[index])`.
    """

    @property
    def config(self) -> LifterConfig:
        """The configuration of this network."""

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""

    def embed(self, frames: Tensor) -> Tensor:
        """Map frames to features: screen coordinates [..., J, 2] (or poses [..., J, 3]) -> [..., C].

        A missing joint is NaN; only networks with a mask token accept it.
        """

    def aggregate(self, embedded: Tensor) -> Poses:
        """Map the features of whole windows, [B, N, C], to poses."""

    def __call__(self, windows: Tensor) -> Poses:
        """Lift windows of screen coordinates, [B, N, J, 2] (or complete windows of poses, [B, N, J, 3])."""

    def for_inference(self) -> "Lifter":
        """A copy optimised for inference: eval mode only, on the same device, with outputs within 2e-5."""


class TargetLifter(Lifter, Protocol):
    """A sequence-to-sequence network that can also answer for one frame of a window, at a fraction of the cost.

    Its samples are told apart by their distances in time alone, so they may come in any order.
    """

    def lift_targets(self, embedded: Tensor, ahead: Tensor) -> Poses:
        """Map the features of live windows to the poses of their targets, `Poses.centre`.

        Args:
            embedded: [B, N, C], the samples of each window in the order of `live_samples.live_distances`.
            ahead: int64 [B], the number of samples after each target in its window.
        """


def answers(lifter: Lifter, embedded: Tensor, ahead: Tensor | None) -> Tensor:
    """The output in eval mode, `Poses.answer`, for windows of features; or for targets alone, if `ahead` is given."""
    if ahead is None:
        return lifter.aggregate(embedded).answer
    return cast(TargetLifter, lifter).lift_targets(embedded, ahead).answer


class MaskedModel(Protocol):
    """A network that pretrains the encoder of a lifter by reconstructing masked windows.

    Attributes:
        lifts: whether it can also learn to lift the windows that it reconstructs.
    """

    lifts: ClassVar[bool]

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the masks of one training step, on the CPU.

        Args:
            temporal_rate: fraction of the frames to hide, in [0, 1).
            joints: joints to hide in each frame.
            generator: on the CPU.
        """

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """The training loss of a batch.

        Args:
            windows, clean: [B, N, J, 2] screen coordinates: the input, and the target of the reconstruction.
            joints: [B, N, J, 3] the 3D joints of the windows, relative to the root.
            masks: as `draw_masks` returns them.
            lift: weight of the lifting loss; 0 for a network that does not lift.
        Returns:
            scalar.
        """

    def encoder_state(self) -> dict[str, Tensor]:
        """The initial tensors for a lifter of the same configuration; load them with `strict=False`."""
