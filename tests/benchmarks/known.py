"""What it is worth to tell the focal length, gravity and stature, on recorded people filmed by virtual cameras.

    python -m tests.benchmarks.known data/mocap_open             # two of every forty frames: two minutes
    python -m tests.benchmarks.known data/mocap_open --every 10

Films are lifted as finished clips, from the keypoints of a simulated detector, and what is told of them is true. Beside
the error of the joints stand the mean error of the films' statures, and the mean angle between found and true trunks.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.evaluate import scoring_views
from poselift_training.evaluation.scored_poses import ScoredPoses
from poselift_training.evaluation.served import lift_as_served
from rich.console import Console
from rich.table import Table

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.camera import Camera, Person
from poselift.known import known_rows
from poselift.skeletons import skeleton
from tests.films import stature_of
from tests.shipped_model import SHIPPED_MODEL

_WIDTH_PX = 1000.0
_THORAX = skeleton("h36m17").joint_names.index("thorax")
TOLD = {
    "nothing": (),
    "focal length": ("focal",),
    "gravity": ("gravity",),
    "stature": ("stature",),
    "all three": ("focal", "gravity", "stature"),
}
Poses = NDArray[np.float32]


def told_rows(sequences: Sequences, facts: tuple[str, ...]) -> torch.Tensor:
    """The rows [S, K, 2] of each film when these facts of it are told."""
    assert sequences.up is not None
    assert sequences.intrinsics is not None
    rows = []
    for film, poses in enumerate(sequences.joints.split(sequences.lengths.tolist())):
        focal_px = float(sequences.intrinsics[film, 0]) * _WIDTH_PX / 2
        x, y, z = (-sequences.up[film]).tolist()
        camera = Camera(
            focal_px=focal_px if "focal" in facts else None,
            gravity=(x, y, z) if "gravity" in facts else None,
        )
        height_m = stature_of(poses.numpy()) if "stature" in facts else None
        rows.append(known_rows(camera, Person(height_m=height_m), _WIDTH_PX))
    return torch.from_numpy(np.stack(rows))


def by_film(poses: Poses, sequences: Sequences) -> Iterator[Poses]:
    """Poses [M, 17, 3] of the scored frames, film by film."""
    film_of_frame = sequences.sequence_of_frame[sequences.valid].numpy()
    for film in np.unique(film_of_frame):
        yield poses[film_of_frame == film]


def trunk_error_deg(poses: Poses, true: Poses) -> float:
    """Mean angle between the trunks of poses [M, 17, 3], from pelvis to thorax, and the true ones."""
    trunks = [each[:, _THORAX] / np.linalg.norm(each[:, _THORAX], axis=-1, keepdims=True) for each in (poses, true)]
    angles: NDArray[np.float32] = np.arccos(np.clip((trunks[0] * trunks[1]).sum(axis=-1), -1, 1))
    return float(np.degrees(angles.mean()))


def measure(artifact: Artifact, sequences: Sequences) -> Iterator[tuple[str, float, float, float]]:
    """For each row of the table: what is told, the error in mm, of statures in percent, and of trunks in degrees."""
    lifter = artifact.lifter.for_inference()
    frames = sequences.valid.nonzero()[:, 0]
    true = sequences.joints[frames].numpy()
    for name, facts in TOLD.items():
        served = lift_as_served(lifter, artifact.manifest, sequences, known=told_rows(sequences, facts))
        poses = served.joints.numpy()
        scores = ScoredPoses.match(served.joints, frames, sequences).scores()
        pairs = zip(by_film(poses, sequences), by_film(true, sequences), strict=True)
        off = [abs(stature_of(film) / stature_of(of_truth) - 1) for film, of_truth in pairs]
        yield name, scores.mpjpe_mm, 100 * float(np.mean(off)), trunk_error_deg(poses, true)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of motion capture")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="folder of an artifact")
    parser.add_argument("--every", type=int, default=40, help="two neighbouring frames of so many are scored")
    options = parser.parse_args()
    artifact = load_artifact(options.model)
    if not artifact.manifest.known:
        parser.error(f"{artifact.manifest.name} takes nothing of camera and person: name a model that does (--model).")
    views = scoring_views(Motion.load(options.root, ("test",)), noise=True)
    sequences = replace(views, valid=views.valid & (views.frame_indices % options.every < 2))
    table = Table("told", "MPJPE, mm", "stature, %", "trunk, degrees")
    for name, *errors in measure(artifact, sequences):
        table.add_row(name, *(f"{error:.2f}" for error in errors))
    console = Console(width=120)
    console.print(f"{artifact.manifest.name} version {artifact.manifest.version}, {int(sequences.valid.sum())} frames")
    console.print(table)


if __name__ == "__main__":
    main()
