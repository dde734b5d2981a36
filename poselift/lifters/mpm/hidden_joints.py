"""The joints that training for completion hides: the same ones in all frames of a window."""

from dataclasses import dataclass

import torch
from torch import Tensor

from poselift.skeletons import Skeleton


@dataclass(frozen=True)
class Tubes:
    """Sets of joints to hide; the official code calls them tube masks.

    Attributes:
        sets: joints that are hidden together.
        random_joints: how many random joints are hidden in a window that hides none of the sets.
    """

    sets: tuple[tuple[int, ...], ...]
    random_joints: int


def joint_tubes(skeleton: Skeleton) -> Tubes:
    """The sets for 3D poses: right leg, right arm, left arm, left leg; or three random joints.

    Source: the official sets, by joint name; the comments there call right limbs left.
    """
    names = ("right leg", "right arm", "left arm", "left leg")
    return Tubes(tuple(skeleton.limbs[name] for name in names), random_joints=3)


def draw_tubes(tubes: Tubes, windows: int, joints: int, generator: torch.Generator) -> Tensor:
    """Draw the joints to hide in each window; every set and the random joints are equally likely.

    Args:
        joints: J, joints of the skeleton.
        generator: on the CPU.
    Returns:
        bool [B, 1, J], on the CPU.
    """
    hidden = torch.zeros(windows, len(tubes.sets) + 1, joints, dtype=torch.bool)
    for number, joint_set in enumerate(tubes.sets):
        hidden[:, number, list(joint_set)] = True
    hidden[:, -1] = torch.rand(windows, joints, generator=generator).argsort(dim=1) < tubes.random_joints
    chosen = torch.randint(hidden.shape[1], (windows,), generator=generator)
    return hidden[torch.arange(windows), chosen].unsqueeze(1)
