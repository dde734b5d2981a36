"""How well motion in the world is found, on recorded people filmed by virtual cameras whose truth is known.

    python -m tests.benchmarks.motion data/mocap_open             # every fourth clip: some minutes
    python -m tests.benchmarks.motion data/mocap_open --every 1   # all of the test split

Each clip is lifted from keypoints without errors ("exact") and from those of a simulated detector, then placed in the
world with the true height; the path and the distance with the true focal length and with an assumed one, gravity always
estimated. Films in which the person leaves the picture for more than a tenth of the time are left out.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from poselift_training.data.mocap import Motion

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.camera import UNKNOWN_CAMERA, Camera, Person
from poselift.lifting import Lifted, lift
from poselift.motion.bones import bone_lengths, stature
from poselift.motion.gravity import estimate_gravity
from poselift.motion.live.advance import advance
from poselift.motion.live.state import LiveState
from poselift.motion.to_world import before_camera, to_world
from poselift.motion.world import WorldOptions
from poselift.sequence import Sequence
from tests.benchmarks.motion.feet import feet_columns, is_walk, score_feet, with_labels
from tests.films import Film, films, shortened

MODEL = Path(__file__).parents[3] / "models" / "pstmo-tiny-27" / "4"
ATTITUDES = ((-40.0, 0.0), (-20.0, 0.0), (0.0, 0.0), (20.0, 0.0), (40.0, 0.0), (10.0, -25.0), (10.0, 25.0))
LEAST_SEEN = 0.9
# Shorter films, and shorter ways, say little about a path; the share of a way of nothing is no number.
SHORTEST_S, SHORTEST_WAY_M = 2.0, 1.5
COST_FRAMES, ROUNDS, LIVE_FRAMES = 1000, 7, 50
KINDS = ("exact", "detected")


@dataclass(frozen=True)
class Score:
    """Errors on one film.

    Attributes:
        path: median distance of the path from the true one, both relative to their first frames, as a share of the way;
            None for people who stay.
        path_m: the same in metres.
        distance: median error of the distance from the camera, as a share.
        gravity_deg, claimed_deg: error of the direction of falling, and what was expected of it.
    """

    path: float | None
    path_m: float
    distance: float
    gravity_deg: float
    claimed_deg: float


def score(film: Film, kind: str, lifted: Lifted, camera: Camera) -> Score:
    """Place a film in the world, and compare; the path in camera axes, since gravity has its own figure."""
    sequence: Sequence = getattr(film, kind)
    person = Person(height_m=stature(np.median(bone_lengths(film.joints), axis=0)))
    found = before_camera(lifted.joints, lifted.expected_error_m, sequence, camera, person)
    gravity = estimate_gravity(found.poses, found.path, sequence.times_s)
    seen = np.flatnonzero(film.seen)
    path, truth = found.path[seen], film.joints[seen, 0]
    off = float(np.median(np.linalg.norm((path - path[0]) - (truth - truth[0]), axis=1)))
    # Every fifth of a second, so that trembling is no way.
    way = float(np.linalg.norm(np.diff(truth[::10], axis=0), axis=1).sum())
    return Score(
        path=off / way if way >= SHORTEST_WAY_M else None,
        path_m=off,
        distance=float(np.median(np.abs(path[:, 2] / truth[:, 2] - 1))),
        gravity_deg=float(np.degrees(np.arccos(np.clip(-gravity.direction @ film.up, -1, 1)))),
        claimed_deg=gravity.uncertainty_deg,
    )


def usable(found: Iterable[Film]) -> list[Film]:
    """Films in which the person is seen, long enough for a path."""
    return [film for film in found if film.seen.mean() >= LEAST_SEEN and film.exact.times_s[-1] >= SHORTEST_S]


def print_paths(artifact: Artifact, motion: Motion) -> None:
    """The path and the distance with the true and with an assumed focal length, and gravity, for usual cameras."""
    recorded = usable(films(motion, seed=1))
    print(f"{len(recorded)} films of usual cameras, up to 10 s each; medians (90 % of the films are below)")
    print("keypoints  focal    path, % of way   path, cm       distance, %     gravity, degrees")
    for kind in KINDS:
        lifted = [lift(artifact, getattr(film, kind)) for film in recorded]
        for given in (True, False):
            cameras = [Camera(focal_px=film.focal_px) if given else UNKNOWN_CAMERA for film in recorded]
            scores = [score(*each) for each in zip(recorded, [kind] * len(recorded), lifted, cameras, strict=True)]
            columns = (
                [100 * each.path for each in scores if each.path is not None],
                [100 * each.path_m for each in scores],
                [100 * each.distance for each in scores],
                [each.gravity_deg for each in scores],
            )
            row = "  ".join(f"{_median(column):14s}" for column in columns)
            print(f"{kind:9s}  {'given  ' if given else 'assumed'}  {row}", flush=True)


def print_gravity(artifact: Artifact, motion: Motion) -> None:
    """Errors of gravity by the camera's attitude."""
    print("\npitch  roll  films  gravity, degrees: exact   detected        expected of itself")
    for pitch, roll in ATTITUDES:
        recorded = usable(films(motion, seed=2, pitch_deg=pitch, roll_deg=roll))
        scores = {
            kind: [
                score(film, kind, lift(artifact, getattr(film, kind)), Camera(focal_px=film.focal_px))
                for film in recorded
            ]
            for kind in KINDS
        }
        exact, detected = (_median([each.gravity_deg for each in scores[kind]]) for kind in KINDS)
        claimed = np.median([each.claimed_deg for each in scores["detected"]])
        print(f"{pitch:5.0f} {roll:5.0f} {len(recorded):6d}  {exact:23s}  {detected:14s}  {claimed:.1f}", flush=True)


def print_feet(artifact: Artifact, motion: Motion) -> None:
    """Contacts and locked feet, of clips and of streams; see `feet`."""
    recorded = usable(films(with_labels(motion), seed=1))
    walks = [is_walk(film) for film in recorded]
    print(f"\nfeet in {len(recorded)} films, {sum(walks)} of people who walk or run; `off` -> `auto`")
    print("keypoints              F1     slide of standing feet, mm     jerk, m/s^3             MPJPE, mm")
    for kind in KINDS:
        lifted = [lift(artifact, getattr(film, kind)) for film in recorded]
        for live in (False, True):
            scores = [score_feet(film, kind, each, live=live) for film, each in zip(recorded, lifted, strict=True)]
            for name, chosen in (("all", [True] * len(walks)), ("walks", walks)):
                columns = feet_columns(score for score, take in zip(scores, chosen, strict=True) if take)
                print(f"{kind:9s} {'live' if live else 'clip'} {name:6s} {columns}", flush=True)


def print_cost(artifact: Artifact, motion: Motion) -> None:
    """Time of the module on a long clip beside that of lifting it, and of a live frame."""
    longest = int(motion.lengths.argmax())
    film = next(films(shortened(motion, [longest]), seed=3, longest_s=COST_FRAMES / motion.fps))
    lifted = lift(artifact, film.detected)
    joints, error_m, sequence = lifted.joints, lifted.expected_error_m, film.detected
    # Time of the processor, so that other work does not count. Its clock is slow: live frames are timed many at a time.
    lift_s = _fastest(lambda: lift(artifact, sequence), rounds=3)
    place_s = _fastest(lambda: to_world(joints, error_m, sequence), rounds=ROUNDS)
    frames = len(joints)
    print(
        f"\ntime of the processor; {frames} frames: lifting {1000 * lift_s:.0f} ms, "
        f"placing in the world {1000 * place_s:.1f} ms"
    )
    parts = [
        replace(sequence, keypoints=sequence.keypoints[row : row + 1], times_s=sequence.times_s[row : row + 1])
        for row in range(frames)
    ]
    for asked in (WorldOptions(), WorldOptions(rotations=True), WorldOptions(rotations=True, angles=True)):
        state, times_s = LiveState.start(), []
        for row, part in enumerate(parts):
            if row % LIVE_FRAMES == 0:
                started = time.process_time()
            now = slice(row, row + 1)
            state, _ = advance(state, joints[now], None if error_m is None else error_m[now], part, options=asked)
            if row % LIVE_FRAMES == LIVE_FRAMES - 1:
                times_s.append((time.process_time() - started) / LIVE_FRAMES)
        settled = times_s[int(2 * motion.fps / LIVE_FRAMES) :]
        asks = ", ".join(name for name in ("rotations", "angles") if getattr(asked, name)) or "poses alone"
        print(f"a live frame, {asks}: median {1e3 * np.median(settled):.2f} ms, fastest {1e3 * min(settled):.2f} ms")


def _median(values: Items[float]) -> str:
    return f"{np.median(values):.2f} ({np.quantile(values, 0.9):.1f})" if len(values) else "-"


def _fastest(job: Callable[[], object], rounds: int) -> float:
    best = np.inf
    for _ in range(rounds):
        started = time.process_time()
        job()
        best = min(best, time.process_time() - started)
    return float(best)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="motion capture with a test split")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of an artifact")
    parser.add_argument("--every", type=int, default=4, help="take every so many clips")
    parser.add_argument("--split", default="test", help="of the data")
    parser.add_argument("--only", choices=("paths", "gravity", "feet", "cost"), help="a part of it")
    options = parser.parse_args()

    artifact = load_artifact(options.model)
    whole = Motion.load(options.data, [options.split])
    motion = shortened(whole, list(range(0, len(whole.lengths), options.every)))
    jobs = {"paths": print_paths, "gravity": print_gravity, "feet": print_feet, "cost": print_cost}
    for name, job in jobs.items():
        if options.only in (None, name):
            job(artifact, motion)


if __name__ == "__main__":
    main()
