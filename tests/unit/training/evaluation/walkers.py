"""People on straight lines and untrained lifters, for tests of conditions and of serving."""

import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views
from poselift_training.evaluation.conditions import (
    ScoredLifter,
)

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.pstmo.network import STMO, STMOConfig


def moving(lengths: tuple[int, ...], fps: float = 50) -> Motion:
    """People whose joints all walk on straight lines of their own."""
    random = torch.Generator().manual_seed(0)
    clips = []
    for length in lengths:
        start = torch.rand(17, 3, generator=random) + torch.tensor([0, 0, 0.5])
        speed = torch.rand(17, 3, generator=random) - 0.5
        clips.append(start + speed * torch.arange(length)[:, None, None] / fps)
    sizes = torch.tensor(lengths)
    names = tuple(str(number) for number in range(len(lengths)))
    return Motion(torch.cat(clips), sizes.cumsum(0) - sizes, sizes, names, names, names, fps, ())


def views_of(motion: Motion, *, noise: bool) -> Sequences:
    return simulate_views(motion, Views(noise=noise), seed=3)


def untrained_lifter(
    missing_joints: str, system: str = "pstmo", *, expected_error: bool = False, smoothed: bool = False
) -> ScoredLifter:
    token = missing_joints == "token"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter: Lifter
        if system == "pstmo":
            config = STMOConfig(
                frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=token, expected_error=expected_error
            )
            lifter = STMO(config).eval()
        else:
            lifter = MixSTE(MixSTEConfig(9, 16, 32, 1, heads=2, mask_token=token)).eval()
    manifest = Manifest.model_validate(
        {
            "name": "small",
            "system": system,
            "network": {"frames": 9, "expected_error": expected_error},
            "input_skeleton": "h36m17",
            "output_skeleton": "h36m17",
            "frame_rate_hz": 50,
            "temporal_stride": 3,
            "smoothed": smoothed,
            "missing_joints": missing_joints,
        }
    )
    return ScoredLifter(lifter.for_inference(), manifest)


def without_root(poses: torch.Tensor) -> torch.Tensor:
    return poses.index_fill(1, torch.tensor([0]), 0)
