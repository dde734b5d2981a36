"""The interface of all lifters."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class Task(StrEnum):
    """What a system makes of windows of frames."""

    LIFT = "lift"
    """Poses in 3D, of keypoints in screen coordinates."""
    COMPLETE = "complete"
    """Whole poses in 3D, of root-relative poses with missing joints."""

    @property
    def done(self) -> str:
        """What a model of this kind does, in words."""
        return "lifts keypoints" if self is Task.LIFT else "completes 3D poses"

    @property
    def dimensions(self) -> int:
        """Coordinates of a joint that the network takes."""
        return 2 if self is Task.LIFT else 3


@dataclass(frozen=True)
class Poses:
    """What a lifter returns for a batch of windows.

    Root-relative camera space (x right, y down, z forward), in the unit the lifter was trained in.

    Attributes:
        centre: [B, J, 3], the pose of the middle frame (index N // 2); None for a lifter without such a head.
        frames: [B, N, J, 3], one pose per frame; None when the lifter has no such head or skipped it.
        expected_error: [B, J], how far each joint of `centre` is likely to be off; None for a lifter that cannot tell.
    """

    centre: Tensor | None
    frames: Tensor | None
    expected_error: Tensor | None = None

    @property
    def answer(self) -> Tensor:
        """What a lifter in eval mode is asked for: the pose of the middle frame, [B, J, 3], or those of all frames,
        [B, N, J, 3], where it answers for whole windows. Where errors are expected they are a fourth column."""
        answer = self.frames if self.centre is None else self.centre
        assert answer is not None, "a lifter answers in one way at least"
        return answer if self.expected_error is None else torch.cat((answer, self.expected_error[..., None]), dim=-1)


class LifterConfig(Protocol):
    """All that is needed to build a network again: a frozen dataclass of plain numbers.

    Attributes:
        sequence_to_sequence: whether the network answers with a pose for every frame of a window (`Poses.frames`), or
            with that of its middle frame alone (`Poses.centre`).
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    sequence_to_sequence: ClassVar[bool]

    @property
    def frames(self) -> int:
        """Frames per window, N."""

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

    In eval mode `embed` sees one frame at a time, so overlapping windows of a sequence may share its results:
    `lifter(frames[index])` equals `lifter.aggregate(lifter.embed(frames)[index])`.
    """

    @property
    def config(self) -> LifterConfig:
        """All that is needed to build the same network again."""

    @property
    def receptive_field(self) -> int:
        """Frames per window, N."""

    def embed(self, frames: Tensor) -> Tensor:
        """Turn frames into features: screen coordinates [..., J, 2] (or poses [..., J, 3]) -> [..., C].

        A missing joint is NaN, if the lifter was trained for missing joints.
        """

    def aggregate(self, embedded: Tensor) -> Poses:
        """Turn features of whole windows, [B, N, C], into poses."""

    def __call__(self, windows: Tensor) -> Poses:
        """Lift windows of screen coordinates, [B, N, J, 2] (or complete poses, [B, N, J, 3])."""

    def for_inference(self) -> "Lifter":
        """The same network in its fastest form: eval only, on the same device, outputs within 2e-5."""


class MaskedModel(Protocol):
    """What a lifter's encoder learns in before it learns to lift: a module that rebuilds what is hidden from it.

    Attributes:
        lifts: whether it can also learn to lift what it rebuilds.
    """

    lifts: ClassVar[bool]

    def draw_masks(self, temporal_rate: float, joints: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw what one training step hides, on the CPU.

        Args:
            temporal_rate: share of the frames to hide, in [0, 1).
            joints: joints to hide in each frame.
            generator: on the CPU.
        """

    def loss(self, windows: Tensor, clean: Tensor, joints: Tensor, masks: Sequence[Tensor], lift: float) -> Tensor:
        """How far off the rebuilt windows are.

        Args:
            windows, clean: [B, N, J, 2] screen coordinates, as they are given and as they should come out.
            joints: [B, N, J, 3] their joints, relative to the root.
            masks: of `draw_masks`.
            lift: what lifting counts besides; 0 where the model does not lift.
        Returns:
            scalar.
        """

    def encoder_state(self) -> dict[str, Tensor]:
        """The tensors that a lifter of the same config starts with; load them with `strict=False`."""
