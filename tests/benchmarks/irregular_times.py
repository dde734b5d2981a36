"""How far poses differ from those at a constant rate, when a camera's rate wanders and frames are dropped.

The same motion is sampled at both, from motion capture seen by a virtual camera, and lifted as clips and as streams.
Poses are compared at the same moments; those at the constant rate are interpolated between frames. For comparison: two
constant rates half a frame apart, and times that are not told, so that frames pass for those of the mean rate.

    python -m tests.benchmarks.irregular_times data/mocap_open
"""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from poselift_service.sessions.session import Opening, window_of

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.lifters.lifter import answers
from poselift.lifting import finish, lift
from poselift.live_window import KeptFrames, arriving_frames
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.integration.walking import wandering
from tests.shipped_model import SHIPPED_MODEL

H36M = skeleton("h36m17")
FPS, CLIP_S, CLIPS = 30, 10.0, 40
WIDTH_PX, HEIGHT_PX, FOCAL_PX, DISTANCE_M = 1920, 1080, 1100, 4.5
NEAREST_M = 1.0
Lookahead = int | Literal["full"]
LOOKAHEADS: tuple[Lookahead, ...] = (0, 5, "full")
Floats = NDArray[np.floating]
Motion = Callable[[Floats], Floats]
"""From moments [F] in seconds to joints [F, 17, 3] in metres, z up."""


def moving(joints: Floats, rate_hz: float) -> Motion:
    """Motion capture [T, 17, 3] as a function of time; at its ends it turns back."""

    def at(times_s: Floats) -> Floats:
        return between(joints, np.abs((times_s * rate_hz) % (2 * len(joints) - 2) - (len(joints) - 1)))

    return at


def between(frames: Floats, positions: Floats) -> Floats:
    """Frames [T, J, 3] at positions that are no whole numbers, on the lines between their neighbours."""
    lower = np.minimum(positions.astype(int), len(frames) - 2)
    share = (positions - lower)[:, None, None]
    return np.asarray((1 - share) * frames[lower] + share * frames[lower + 1])


def seen(motion: Motion, times_s: Floats) -> Sequence:
    """What a camera that stands on the side sees."""
    joints = motion(times_s)
    across, deep = joints[..., 0] - joints[0, 0, 0], depth(joints)
    x_px = WIDTH_PX / 2 + FOCAL_PX * across / deep
    y_px = HEIGHT_PX / 2 + FOCAL_PX * (joints[0, 0, 2] - joints[..., 2]) / deep
    keypoints = np.stack([x_px, y_px, np.ones_like(x_px)], axis=-1).astype(np.float32)
    return Sequence(keypoints, H36M, WIDTH_PX, HEIGHT_PX, times_s.astype(np.float64))


def depth(joints: Floats) -> Floats:
    """Distance [F, J] of joints from the plane of that camera, in metres."""
    return np.asarray(joints[..., 1] - joints[0, 0, 1] + DISTANCE_M)


def stays_in_picture(motion: Motion) -> bool:
    """Whether a clip's motion is all before that camera and within its picture."""
    times_s = np.arange(0, CLIP_S, 1 / FPS)
    points_px = seen(motion, times_s).keypoints[..., :2]
    inside = (points_px >= 0) & (points_px < (WIDTH_PX, HEIGHT_PX))
    return bool(inside.all() and (depth(motion(times_s)) > NEAREST_M).all())


@torch.inference_mode()
def stream(artifact: Artifact, sequence: Sequence, fps: float | None, lookahead: Lookahead) -> Floats:
    """Poses [F, J, 3] of frames that come one by one, at a rate or with their times."""
    window = window_of(artifact.manifest, Opening(H36M, WIDTH_PX, HEIGHT_PX, fps, lookahead))
    network = artifact.lifter.for_inference()
    kept = KeptFrames.none(artifact.manifest, timed=fps is None)
    poses = []
    for first in range(len(sequence.times_s)):
        one = slice(first, first + 1)
        frame = replace(sequence, keypoints=sequence.keypoints[one], times_s=sequence.times_s[one])
        kept = kept.followed_by(arriving_frames(frame, artifact.manifest, first, kept))
        targets = [window.completed_by(range(first, first + 1), kept)]
        if first == len(sequence.times_s) - 1:
            targets.append(window.left_at(first + 1, kept))
        for prepared in [window.prepare(kept, some) for some in targets if some]:
            embedded = network.embed(torch.from_numpy(prepared.frames))
            ahead = None if prepared.ahead is None else torch.from_numpy(prepared.ahead)
            outputs = answers(network, embedded[torch.from_numpy(prepared.index)], ahead)
            poses.append(prepared.poses(finish(outputs, artifact.manifest).numpy(), artifact.manifest).joints)
    return np.concatenate(poses)


def interpolated(poses: Floats, at_s: Floats, times_s: Floats) -> Floats:
    """Poses at other moments."""
    return between(poses, np.interp(times_s, at_s, np.arange(len(at_s))))


def differences(
    artifact: Artifact,
    motion: Motion,
    seed: int,
    duration_s: float = CLIP_S,
    lookaheads: Items[Lookahead] = LOOKAHEADS,
) -> dict[str, Floats]:
    """Distances [F, J] in mm of poses from those of the constant rate, by what was done otherwise."""
    constant = seen(motion, np.arange(0, duration_s, 1 / FPS))
    times_s = wandering(int(duration_s * 33), seed)
    times_s = times_s[times_s < constant.times_s[-1]]
    other = seen(motion, times_s)
    shifted = seen(motion, (constant.times_s + 0.5 / FPS)[:-1])
    untold = replace(other, times_s=np.linspace(times_s[0], times_s[-1], len(times_s)))
    whole = lift(artifact, constant).joints
    found = {
        "clip, times told": (lift(artifact, other).joints, whole, times_s),
        "clip, times not told": (lift(artifact, untold).joints, whole, times_s),
        "clip, constant, half a frame later": (lift(artifact, shifted).joints, whole, shifted.times_s),
    }
    mean_fps = (len(times_s) - 1) / (times_s[-1] - times_s[0])
    for lookahead in lookaheads:
        # With full lookahead, sequence-to-sequence lifters have other windows where frames have times: like with like.
        expected, timed = (stream(artifact, constant, fps, lookahead) for fps in (FPS, None))
        name = f"stream, lookahead {lookahead}"
        found[f"{name}, times told"] = stream(artifact, other, None, lookahead), timed, times_s
        found[f"{name}, times not told"] = stream(artifact, other, mean_fps, lookahead), expected, times_s
    return {
        name: 1000 * np.linalg.norm(poses - interpolated(reference, constant.times_s, at_s), axis=-1)
        for name, (poses, reference, at_s) in found.items()
    }


def table(found: list[dict[str, Floats]]) -> str:
    """Mean and percentile of all distances, a line for each of what was done."""
    lines = [f"{'':<44}{'mean':>8}{'95 %':>8}{'99 %':>8}  mm"]
    for name in found[0]:
        all_mm = np.concatenate([distances[name].ravel() for distances in found])
        lines.append(f"{name:<44}{all_mm.mean():8.2f}{np.percentile(all_mm, 95):8.2f}{np.percentile(all_mm, 99):8.2f}")
    return "\n".join(lines)


def main() -> None:
    from poselift_training.data.mocap import Motion as Recorded

    options = argparse.ArgumentParser(description="Compare irregular times with a constant rate.")
    options.add_argument("root", type=Path, help="Folder of the open motion data.")
    options.add_argument("--clips", type=int, default=CLIPS)
    given = options.parse_args()
    recorded, artifact = Recorded.load(given.root, ["val"]), load_artifact(SHIPPED_MODEL)
    long_enough = np.flatnonzero(recorded.lengths.numpy() >= 3 * recorded.fps)
    found: list[dict[str, Floats]] = []
    for clip in np.random.default_rng(0).permutation(long_enough):
        joints = recorded.joints[recorded.starts[clip] :][: recorded.lengths[clip]].numpy().astype(np.float64)
        motion = moving(joints, recorded.fps)
        if len(found) < given.clips and stays_in_picture(motion):
            found.append(differences(artifact, motion, int(clip)))
    frames = sum(len(distances["clip, times told"]) for distances in found)
    sys.stdout.write(f"{len(found)} clips of {CLIP_S:g} s, {frames} frames\n{table(found)}\n")


if __name__ == "__main__":
    main()
