"""What a lifter is not shown when it is asked how it does without: joints here and there, or whole limbs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from poselift_training.data.sequences import Sequences

SHARES = (0.0, 0.1, 0.2, 0.4)
_SEED = 20_220_317


def hide(sequences: Sequences) -> Iterator[tuple[str, Tensor]]:
    """Joints to leave out of all sequences, [T, J] bool, and what to call them; the same ones in every evaluation.

    A share of all joints, each in each frame by chance; one arm or leg in all frames. Joints that are missing anyway
    come on top.
    """
    shape = sequences.keypoints.shape[:2]
    device = sequences.keypoints.device
    for share in SHARES:
        # Drawn on the CPU, so that every device sees the same; what a smaller share hides, a larger one hides, too.
        chance = torch.rand(shape, generator=torch.Generator().manual_seed(_SEED))
        yield f"{share:.0%}".replace("%", " %"), (chance < share).to(device)
    for name, joints in sequences.skeleton.limbs.items():
        hidden = torch.zeros(shape, dtype=torch.bool, device=device)
        hidden[:, list(joints)] = True
        yield name, hidden
