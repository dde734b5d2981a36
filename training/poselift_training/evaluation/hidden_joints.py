"""Joints that are hidden from a lifter to measure how it lifts without them: random ones, or whole limbs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift_training.data.sequences import Sequences

SHARES = (0.0, 0.1, 0.2, 0.4)
_SEED = 20_220_317


def hidden_joint_masks(sequences: Sequences) -> Iterator[tuple[str, Tensor]]:
    """Choose the joints to hide, the same ones in every evaluation.

    First a share of the joints, random in each frame; then one arm or leg in all frames. Joints that the detector
    misses are missing in addition.

    Yields:
        A name, and the joints [T, J] bool.
    """
    shape = sequences.keypoints.shape[:2]
    device = sequences.keypoints.device
    for share in SHARES:
        # Drawn on the CPU, so that it is the same on every device; one draw for all shares makes them nested.
        draw = torch.rand(shape, generator=torch.Generator().manual_seed(_SEED))
        yield f"{share:.0%}".replace("%", " %"), (draw < share).to(device)
    for name, joints in sequences.skeleton.limbs.items():
        hidden = torch.zeros(shape, dtype=torch.bool, device=device)
        hidden[:, list(joints)] = True
        yield name, hidden
