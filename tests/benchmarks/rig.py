"""Constant bones, and rotations of a rig, on recorded people and on what a model makes of films of them.

    python -m tests.benchmarks.rig MOCAP [MOCAP ...] [--model DIR]

MOCAP are folders in the format of `poselift_training.data.mocap`; the films are of the first one's test split.
"""

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.evaluate import scoring_views
from poselift_training.evaluation.served import lift_as_served

from poselift.artifacts.artifact import load_artifact
from poselift.motion.bones import bone_lengths, constant_bones
from poselift.motion.rotations import forward_kinematics, global_rotations, joint_rotations, rest_offsets
from poselift.skeletons import skeleton

_H36M = skeleton("h36m17")
_PARENTS = list(_H36M.parents)
Poses = NDArray[np.float64]
_LEAST_ERROR = torch.tensor(0.01)  # as in `to_world`


class Rig(NamedTuple):
    """What came of one clip.

    Attributes:
        error_mm: [F, 17] distance of forward kinematics to the joints.
        turned_deg: [F - 1, 17] how far the frame of each bone turned from frame to frame.
        own_deg: [F - 1] how far the bone that moved most did, and the lines of the hips and shoulders.
        flips: number of neighbouring frames whose quaternions are on different sides.
    """

    error_mm: Poses
    turned_deg: Poses
    own_deg: Poses
    flips: int


def rig(poses: Poses, fps: float) -> Rig:
    """Rig one clip [F, 17, 3], y up."""
    steady, bones = constant_bones(poses)
    rotations = joint_rotations(steady, fps)
    rebuilt = forward_kinematics(steady[:, 0], rotations, rest_offsets(bones))
    frames = global_rotations(rotations)
    turned = 2 * np.arccos(np.clip(np.abs((frames[1:] * frames[:-1]).sum(-1)), 0, 1))
    lines = steady[:, [*range(1, 17), 4, 11]] - steady[:, [*_PARENTS[1:], 1, 14]]
    lines = lines / np.linalg.norm(lines, axis=-1, keepdims=True)
    own = np.arccos(np.clip((lines[1:] * lines[:-1]).sum(-1), -1, 1)).max(axis=1)
    flips = int(((rotations[1:] * rotations[:-1]).sum(-1) < 0).sum())
    return Rig(1000 * np.linalg.norm(rebuilt - steady, axis=-1), np.degrees(turned), np.degrees(own), flips)


def recorded(motion: Motion) -> Iterator[Poses]:
    """Clips of motion capture, y up."""
    for start, length in zip(motion.starts.tolist(), motion.lengths.tolist(), strict=True):
        x, y, z = motion.joints[start : start + length].double().numpy().transpose(2, 0, 1)
        yield np.stack([x, z, -y], axis=-1)


def scored_frames(sequences: Sequences) -> Iterator[tuple[slice, Poses]]:
    """For each film, which rows of the served poses are its own (only frames to score are lifted), and its truth."""
    first = 0
    for start, length in zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True):
        rows = slice(start, start + length)
        truth = sequences.joints[rows][sequences.valid[rows]].double().numpy()
        yield slice(first, first + len(truth)), truth
        first += len(truth)


def filmed(sequences: Sequences, joints: torch.Tensor) -> Iterator[Poses]:
    """Poses of films, upright by the true direction of up."""
    assert sequences.up is not None
    for (rows, _), up in zip(scored_frames(sequences), sequences.up, strict=True):
        yield joints[rows].double().numpy() @ _upright(up.double().numpy()).T


def _upright(up: Poses) -> Poses:
    """Rows of the matrix from camera axes to axes with y up."""
    y = up / np.linalg.norm(up)
    x = np.cross(y, (0.0, 0.0, -1.0)) / np.linalg.norm(np.cross(y, (0.0, 0.0, -1.0)))
    return np.stack([x, y, np.cross(x, y)])


def errors_mm(poses: Poses, truth: Poses) -> Poses:
    """Mean distance of the joints [F]."""
    distance: Poses = 1000 * np.linalg.norm(poses - truth, axis=-1).mean(axis=-1)
    return distance


def print_rigs(name: str, clips: Iterator[Poses], fps: float) -> None:
    rigs = [rig(clip, fps) for clip in clips if len(clip) > 1]
    errors = np.concatenate([found.error_mm for found in rigs])
    turned = np.concatenate([found.turned_deg for found in rigs])
    own = np.concatenate([found.own_deg for found in rigs])
    chosen = np.random.default_rng(0).choice(len(errors), min(10_000, len(errors)), replace=False)
    worst = turned.max(axis=1)
    faster = worst > np.maximum(3 * own, 5)
    print(f"{name}: {len(rigs)} clips, {len(errors)} frames")
    print(f"  forward kinematics of {len(chosen)} random poses: at most {errors[chosen].max():.2g} mm away")
    print(f"  changes of sign between neighbouring frames: {sum(found.flips for found in rigs)}")
    print(
        f"  largest turn of a bone's frame between neighbours: {worst.max():.1f} degrees (99.9 % at most "
        f"{np.percentile(worst, 99.9):.1f}); of a bone's direction {own.max():.1f} ({np.percentile(own, 99.9):.1f})"
    )
    print(f"  neighbours that turn over 5 degrees and 3 times as far as any bone: {faster.sum()} of {len(worst)}")


def print_bones(name: str, sequences: Sequences, joints: torch.Tensor, weights: torch.Tensor) -> None:
    before, after, weighted, spread, left = [], [], [], [], []
    for rows, truth in scored_frames(sequences):
        if not len(truth):
            continue
        lifted = joints[rows].double().numpy()
        steady, _ = constant_bones(lifted)
        by_weight, _ = constant_bones(lifted, weights[rows].double().numpy())
        before.append(errors_mm(lifted, truth))
        after.append(errors_mm(steady, truth))
        weighted.append(errors_mm(by_weight, truth))
        spread.append(bone_lengths(lifted).std(axis=0)[1:].mean())
        left.append(bone_lengths(steady).std(axis=0).max())
    was = np.concatenate(before).mean()
    print(f"{name}: MPJPE {was:.2f} mm")
    for how, errors in (("all frames alike", after), ("weighted by expected errors", weighted)):
        now = np.concatenate(errors).mean()
        print(f"  with constant bones, {how}: {now:.2f} mm ({100 * (now / was - 1):+.2f} %)")
    print(f"  standard deviation of a bone: {1000 * np.mean(spread):.2f} mm, then at most {1000 * max(left):.1g} mm")


def print_cost(poses: Poses) -> None:
    for name, work in (
        ("constant bones", lambda: constant_bones(poses)),
        ("rotations", lambda: joint_rotations(poses)),
        ("rotations of one frame", lambda: joint_rotations(poses[:1])),
    ):
        took = []
        for _ in range(30):
            began = time.thread_time()
            work()
            took.append(1000 * (time.thread_time() - began))
        print(f"{name}, {len(poses)} frames: median {np.median(took):.2f} ms, fastest {min(took):.2f} ms")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("mocap", nargs="+")
    arguments.add_argument("--model", help="folder of an artifact")
    options = arguments.parse_args()
    for folder in options.mocap:
        motion = Motion.load(folder, ("train", "val", "test"))
        print_rigs(f"recorded, {folder.rstrip('/').rpartition('/')[2]}", recorded(motion), motion.fps)
    print_cost(next(clip for clip in recorded(motion) if len(clip) >= 1000)[:1000])
    if not options.model:
        return
    artifact = load_artifact(options.model)
    lifter = artifact.lifter.for_inference()
    motion = Motion.load(options.mocap[0], ("test",))
    for name, noise in (("exact", False), ("detector-like", True)):
        sequences = scoring_views(motion, noise=noise)
        served = lift_as_served(lifter, artifact.manifest, sequences)
        expected = served.expected_error_m
        weights = torch.ones(served.joints.shape[:2]) if expected is None else torch.hypot(expected, _LEAST_ERROR) ** -2
        print_bones(f"lifted, {name}", sequences, served.joints, weights)
        print_rigs(f"lifted, {name}", filmed(sequences, served.joints), motion.fps)


if __name__ == "__main__":
    main()
