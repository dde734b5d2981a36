"""What a sequence-to-sequence lifter does where its windows meet: back to back against blended, as it is served.

    python -m tests.benchmarks.seams --model runs/models/mixste-compare-27/1 --root data/mocap_open --split val

Prints the mean distance between the true and the lifted movement of a joint from one sample of a window to the next, in
mm, across the seams of windows back to back and everywhere else.
"""

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views
from poselift_training.evaluation.predict import predict, scored_frames, stride_of
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from poselift.artifacts.artifact import Artifact, load_artifact

SEED = 20_220_317


def poses_of_frames(artifact: Artifact, films: Sequences, *, blended: bool) -> Tensor:
    """One pose per frame [T, J, 3] in metres, the root at zero; where back to back a frame comes twice, the first."""
    lifter = artifact.lifter.for_inference()
    rows = scored_frames(lifter, artifact.manifest, films, blended=blended).numpy()
    poses = np.full(films.joints.shape, np.nan, np.float32)
    poses[rows[::-1]] = predict(lifter, artifact.manifest, films, blended=blended).numpy()[::-1]
    poses[:, artifact.manifest.target.root] = 0
    return torch.from_numpy(poses)


def steps(artifact: Artifact, films: Sequences) -> tuple[Tensor, Tensor, Tensor]:
    """Frames [M] that a step begins with, those it ends with, and whether it crosses a seam."""
    stride = stride_of(artifact.manifest, films)
    sequence = films.sequence_of_frame
    first = torch.arange(len(sequence))
    place = (first - films.starts[sequence]) // stride  # in the windows of this frame's series
    second = (first + stride).clamp(max=len(sequence) - 1)
    counts = (sequence[second] == sequence) & (second > first) & films.valid & films.valid[second]
    seam = (place + 1) % artifact.lifter.receptive_field == 0
    return first[counts], second[counts], seam[counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    artifact = load_artifact(options.model)
    cast(nn.Module, artifact.lifter).eval()
    table = Table("keypoints", "windows", "seams, mm", "elsewhere, mm", title="error of a joint's step between samples")
    motion = Motion.load(options.root, (options.split,))
    for keypoints, noise in (("exact", False), ("detector-like", True)):
        films = simulate_views(motion, Views(noise=noise), SEED)
        first, second, seam = steps(artifact, films)
        true = films.joints[second] - films.joints[first]
        for windows, blended in (("back to back", False), ("blended", True)):
            poses = poses_of_frames(artifact, films, blended=blended)
            error_mm = 1000 * (poses[second] - poses[first] - true).norm(dim=-1).mean(dim=-1)
            table.add_row(keypoints, windows, f"{error_mm[seam].mean():.2f}", f"{error_mm[~seam].mean():.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
