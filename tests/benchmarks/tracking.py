"""How well people are told apart who cross in front of a camera: the most similar pair first, and the best sum.

Scenes are made of motion capture: people walk across the picture at several distances, hide one another, are missed by
the detector now and then, and come in another order in every frame. IDF1 is the share of detections that belong to the
track that is matched with their person.

    python -m tests.benchmarks.tracking data/mocap_open
"""

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np
from poselift_training.data.mocap import Motion

from poselift import tracking

FRAMES, SCENES = 150, 24
WIDTH_PX, HEIGHT_PX, FOCAL_PX = 1920, 1080, 1100
NOISE, MISSED_JOINTS, MISSED_PEOPLE, HIDDEN_FROM = 0.02, 0.08, 0.05, 0.35


def walkers(motion: Motion, draws: np.random.Generator, people: int, step: int) -> np.ndarray:
    """Keypoints [P, F, 17, 2] in pixels, and the distance [P] of each person."""
    fps = motion.fps / step
    found, distances = [], draws.uniform(4, 8, size=people)
    for distance in distances:
        clip = int(draws.choice(np.flatnonzero(motion.lengths.numpy() >= FRAMES)))
        joints = motion.joints[motion.starts[clip] :][: motion.lengths[clip]].numpy()[::step]
        joints = np.concatenate([joints, joints[::-1]] * (1 + FRAMES // len(joints)))[:FRAMES].astype(np.float64)
        angle = draws.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        across, deep = np.moveaxis((joints[..., :2] - joints[:, :1, :2]) @ turn.T, -1, 0)
        speed_m_s = draws.uniform(0.5, 2) * draws.choice([-1, 1])
        across += (speed_m_s * (np.arange(FRAMES) - draws.uniform(0.3, 0.7) * FRAMES) / fps)[:, None]
        pixels = FOCAL_PX * np.stack([across, 1 - joints[..., 2]], axis=-1) / (deep + distance)[..., None]
        pixels += np.array([WIDTH_PX, HEIGHT_PX]) / 2
        found.append(pixels + draws.normal(scale=NOISE * np.ptp(pixels[..., 1], axis=1).mean(), size=pixels.shape))
    return np.stack(found)[np.argsort(distances)]  # the nearest first


def detected(people: np.ndarray, draws: np.random.Generator) -> tuple[list[np.ndarray], list[list[int]]]:
    """The detections [P, 17, 2] of each frame in any order, and whose they are."""
    low, high = people.min(axis=2), people.max(axis=2)
    frames, truth = [], []
    for frame in range(FRAMES):
        here = []
        for person in range(len(people)):
            shared = np.minimum(high[:, frame], high[person, frame]) - np.maximum(low[:, frame], low[person, frame])
            covered = shared.clip(0).prod(axis=1) / (high - low)[person, frame].prod()
            inside = high[person, frame, 0] > 0 and low[person, frame, 0] < WIDTH_PX
            if inside and not (covered[:person] > HIDDEN_FROM).any() and draws.random() > MISSED_PEOPLE:
                here.append(person)
        draws.shuffle(here)
        keypoints = people[here, frame].copy()
        keypoints[draws.random(keypoints.shape[:2]) < MISSED_JOINTS] = np.nan
        frames.append(keypoints)
        truth.append(here)
    return frames, truth


def best_sum(similarities: np.ndarray) -> dict[int, int]:
    """The assignment with the largest sum of similarities, by trying all of them."""
    usable = np.where(similarities >= tracking._MIN_SIMILARITY, similarities, 0)
    size = max(usable.shape)
    padded = np.zeros((size, size))
    padded[: usable.shape[0], : usable.shape[1]] = usable
    best = max(
        permutations(range(size)), key=lambda order: sum(padded[order[person], person] for person in range(size))
    )
    return {person: best[person] for person in range(usable.shape[1]) if padded[best[person], person] > 0}


def idf1(truth: list[list[int]], numbers: list[list[int]]) -> float:
    """The share of detections in the track that is matched with their person."""
    counts = np.zeros((1 + max(map(max, filter(None, truth))), 1 + max(map(max, filter(None, numbers)))))
    for people, here in zip(truth, numbers, strict=True):
        counts[people, here] += 1
    matched = 0.0
    left = counts.copy()
    while left.max() > 0:
        person, number = np.unravel_index(left.argmax(), left.shape)
        matched += left[person, number]
        left[person] = left[:, number] = 0
    return matched / counts.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="motion data, as recipes read it")
    motion = Motion.load(parser.parse_args().root, ["val", "test"])
    assignments = {"the most similar pair first": tracking._assign, "the largest sum": best_sum}
    for people in (2, 3, 5):
        scores: dict[str, list[float]] = {name: [] for name in assignments}
        for seed in range(SCENES):
            draws = np.random.default_rng(seed)
            frames, truth = detected(walkers(motion, draws, people, step=(1, 2, 4)[seed % 3]), draws)
            for name, assign in assignments.items():
                tracking._assign = assign
                scores[name].append(idf1(truth, tracking.follow(frames)))
        for name, found in scores.items():
            perfect = sum(score == 1 for score in found)
            print(f"{people} people, {name}: IDF1 {np.mean(found):.4f}, {perfect} of {SCENES} scenes without an error")


if __name__ == "__main__":
    main()
