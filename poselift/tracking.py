"""Tell who is who over time, in a video of which a detector gives the people of each frame without identities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Object keypoint similarity, with one tolerance for all joints: this share of a person's size, doubled as in COCO.
_TOLERANCE = 2 * 0.1
_MIN_SIMILARITY = 0.1
MAX_GAP = 60
"""Frames after which a person who comes back is a new one."""
# Weight of the latest step in a person's speed.
_SPEED_WEIGHT = 0.2
# A person seen from the side, or bent over, is not thin: the least width of a box, as a share of its longer side.
_MIN_ASPECT = 0.25
_GAP_EXPONENT = 0.3
_LEAST = np.finfo(np.float64).tiny


@dataclass
class _Track:
    """Where a person was seen last.

    Attributes:
        positions: [J, 2], NaN where a joint is missing.
        speed: [2] per frame.
    """

    positions: NDArray[np.float64]
    frame: int
    speed: NDArray[np.float64]

    def update(self, positions: NDArray[np.float64], frame: int) -> None:
        """Take over what was detected in a frame."""
        steps = positions - self.positions
        if len(steps := steps[~np.isnan(steps[:, 0])]):
            step = np.median(steps, axis=0) / (frame - self.frame)
            self.speed = self.speed + _SPEED_WEIGHT * (step - self.speed)
        self.positions, self.frame = positions, frame


def keep_order(positions: NDArray[np.floating]) -> bool:
    """Whether everybody stays nearest to their own last position, so that their order tells who is who.

    Args:
        positions: [F, P, J, 2], NaN where a joint, or the whole person, is missing.
    """
    seen = ~np.isnan(positions[..., :1])
    with np.errstate(invalid="ignore"):
        centres = np.where(seen, positions, 0).sum(axis=2) / seen.sum(axis=2)  # NaN where nobody is
    last = centres[0]
    for now in centres[1:]:
        distances = np.linalg.norm(now[:, None] - last, axis=-1)  # [now, before]
        # Written so that NaN, where somebody was not seen, passes.
        if (distances < distances.diagonal()[:, None]).any():
            return False
        last = np.where(np.isnan(now), last, now)
    return True


def follow(frames: Sequence[NDArray[np.floating]]) -> list[list[int]]:
    """Give the people of each frame numbers, from 0 in the order in which they appear.

    A person is who they are most similar to, among the people of the last `MAX_GAP` frames, moved on at their speed;
    the most similar pair comes first. The measure is object keypoint similarity, whose tolerance grows with the frames
    in which somebody was not seen.

    Args:
        frames: for each frame the positions [P, J, 2] of its people, NaN where a joint is missing.
    Returns:
        For each frame the numbers of its P people.
    Source: object keypoint similarity is that of COCO's keypoint evaluation.
    """
    tracks: list[_Track] = []
    living: list[int] = []
    numbers = []
    for frame, people in enumerate(frames):
        living = [number for number in living if frame - tracks[number].frame <= MAX_GAP]
        positions = np.asarray(people, dtype=np.float64)
        assigned: dict[int, int] = {}
        if living and len(positions):
            assigned = _assign(_similarities([tracks[number] for number in living], positions, frame))
        here = []
        for person, seen in enumerate(positions):
            if person in assigned:
                here.append(living[assigned[person]])
                tracks[here[-1]].update(seen, frame)
            else:
                here.append(len(tracks))
                tracks.append(_Track(seen, frame, np.zeros(2)))
        living += [number for number in here if number not in living]
        numbers.append(here)
    return numbers


def _assign(similarities: NDArray[np.float64]) -> dict[int, int]:
    """The track of each person who has one: the most similar pair first, nobody twice.

    On crossings in front of a camera (tests/benchmarks/tracking.py) this tells as many people apart as the optimal
    assignment does.
    """
    left = similarities.copy()
    assigned: dict[int, int] = {}
    while left.max() >= _MIN_SIMILARITY:
        track, person = (int(index) for index in np.unravel_index(left.argmax(), left.shape))
        assigned[person] = track
        left[track] = left[:, person] = -1
    return assigned


def _similarities(tracks: Sequence[_Track], people: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
    """Object keypoint similarity [T, P] of each track and each person, over the joints seen of both; 0 without any."""
    gaps = np.array([[frame - track.frame] for track in tracks])
    last = np.stack([track.positions for track in tracks])
    expected = last + (gaps * np.stack([track.speed for track in tracks]))[:, None]
    squares = ((expected[:, None] - people) ** 2).sum(axis=-1)
    spread = 2 * _TOLERANCE**2 * np.maximum(_sizes(last)[:, None], _sizes(people)) * gaps**_GAP_EXPONENT
    seen = ~np.isnan(squares)
    with np.errstate(over="ignore"):  # people who are points, and far apart: infinitely, which is not close
        closeness = np.exp(-np.where(seen, squares, np.inf) / np.maximum(spread, _LEAST)[..., None])
    similarities: NDArray[np.float64] = closeness.sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1)
    return similarities


def _sizes(people: NDArray[np.float64]) -> NDArray[np.float64]:
    """The areas [N] of the bounding boxes of people [N, J, 2]; 0 if no joint, or only one, was seen."""
    sides = np.nan_to_num(np.fmax.reduce(people, axis=1) - np.fmin.reduce(people, axis=1))
    areas: NDArray[np.float64] = np.maximum(sides, _MIN_ASPECT * sides.max(axis=1, keepdims=True)).prod(axis=1)
    return areas
