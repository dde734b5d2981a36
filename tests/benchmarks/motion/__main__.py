"""How well motion in the world is found, on recorded people filmed by virtual cameras whose truth is known.

    python -m tests.benchmarks.motion data/mocap_open             # every fourth clip: some minutes
    python -m tests.benchmarks.motion data/mocap_open --every 1   # all of the test split

Each clip is lifted from keypoints without errors ("exact") and from those of a simulated detector, then placed in the
world with the true height; the path and the distance with the true focal length and with an assumed one, gravity always
estimated: from the clip alone, by the network alone if the model has an estimate, as the shipped one does, and from
both together. Films in which the person leaves the picture for more than a tenth of the time are left out.
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
from poselift.lifting import lift
from poselift.motion.clip import gravity_hint
from poselift.motion.gravity import combine, estimate_gravity
from poselift.motion.live.advance import advance
from poselift.motion.live.state import LiveState
from poselift.motion.to_world import before_camera, to_world
from poselift.motion.world import WorldOptions
from tests.benchmarks.motion.feet import feet_columns, is_walk, score_feet, with_labels
from tests.films import Film, films, shortened
from tests.shipped_model import SHIPPED_MODEL

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
        gravity_deg: error of the direction of falling, by what it was estimated from: "clip", "network" and "both".
        claimed_deg: what was expected of it, with all that there is.
    """

    path: float | None
    path_m: float
    distance: float
    gravity_deg: dict[str, float]
    claimed_deg: float


def score(film: Film, kind: str, artifact: Artifact, *, focal: bool = True) -> Score:
    """Place a film in the world, and compare; the path in camera axes, since gravity has its own figure."""
    sequence = film.known(kind, focal=focal)
    lifted = lift(artifact, sequence)
    found = before_camera(lifted.joints, lifted.expected_error_m, sequence)
    told = {"clip": estimate_gravity(found.poses, found.path, sequence.times_s)}
    if (hint := gravity_hint(lifted, sequence)) is not None:
        told |= {"network": hint, "both": combine(told["clip"], hint)}
    seen = np.flatnonzero(film.seen)
    path, truth = found.path[seen], film.joints[seen, 0]
    off = float(np.median(np.linalg.norm((path - path[0]) - (truth - truth[0]), axis=1)))
    # Every fifth of a second, so that trembling is no way.
    way = float(np.linalg.norm(np.diff(truth[::10], axis=0), axis=1).sum())
    return Score(
        path=off / way if way >= SHORTEST_WAY_M else None,
        path_m=off,
        distance=float(np.median(np.abs(path[:, 2] / truth[:, 2] - 1))),
        gravity_deg={
            name: float(np.degrees(np.arccos(np.clip(-each.direction @ film.up, -1, 1)))) for name, each in told.items()
        },
        claimed_deg=list(told.values())[-1].uncertainty_deg,
    )


def usable(found: Iterable[Film]) -> list[Film]:
    """Films in which the person is seen, long enough for a path."""
    return [film for film in found if film.seen.mean() >= LEAST_SEEN and film.exact.times_s[-1] >= SHORTEST_S]


def print_paths(artifact: Artifact, motion: Motion) -> None:
    """The path and the distance with the true and with an assumed focal length, and gravity, for usual cameras."""
    recorded = usable(films(motion, seed=1))
    print(f"{len(recorded)} films of usual cameras, up to 10 s each; medians (90 % of the films are below)")
    print("keypoints  focal    path, % of way   path, cm       distance, %     gravity, degrees: clip, network, both")
    for kind in KINDS:
        for given in (True, False):
            scores = [score(film, kind, artifact, focal=given) for film in recorded]
            columns = (
                [100 * each.path for each in scores if each.path is not None],
                [100 * each.path_m for each in scores],
                [100 * each.distance for each in scores],
                *_gravity_columns(scores),
            )
            row = "  ".join(f"{_median(column):14s}" for column in columns)
            print(f"{kind:9s}  {'given  ' if given else 'assumed'}  {row}", flush=True)


def print_gravity(artifact: Artifact, motion: Motion) -> None:
    """Errors of gravity by the camera's attitude."""
    print("\nkeypoints  pitch  roll  films  gravity, degrees: clip, network, both       expected of itself")
    for kind in KINDS:
        everywhere: list[Score] = []
        for pitch, roll in ATTITUDES:
            recorded = usable(films(motion, seed=2, pitch_deg=pitch, roll_deg=roll))
            scores = [score(film, kind, artifact) for film in recorded]
            everywhere += scores
            print(f"{kind:9s}  {pitch:5.0f} {roll:5.0f} {len(recorded):6d}  {_gravity_row(scores)}", flush=True)
        print(f"{kind:9s}  all of them {len(everywhere):6d}  {_gravity_row(everywhere)}")


def print_feet(artifact: Artifact, motion: Motion) -> None:
    """Contacts and locked feet, of clips and of streams; see `feet`."""
    recorded = usable(films(with_labels(motion), seed=1))
    walks = [is_walk(film) for film in recorded]
    print(f"\nfeet in {len(recorded)} films, {sum(walks)} of people who walk or run; `off` -> `auto`")
    print("keypoints              F1     slide of standing feet, mm     jerk, m/s^3             MPJPE, mm")
    for kind in KINDS:
        sequences = [film.known(kind) for film in recorded]
        given = [(film, sequence, lift(artifact, sequence)) for film, sequence in zip(recorded, sequences, strict=True)]
        for live in (False, True):
            scores = [score_feet(*each, live=live) for each in given]
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


def _gravity_columns(scores: Items[Score]) -> list[list[float]]:
    return [[each.gravity_deg[name] for each in scores] for name in scores[0].gravity_deg]


def _gravity_row(scores: Items[Score]) -> str:
    claimed = np.median([each.claimed_deg for each in scores])
    return "  ".join(f"{_median(column):14s}" for column in _gravity_columns(scores)) + f"  {claimed:.1f}"


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
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="folder of an artifact")
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
