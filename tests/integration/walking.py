"""A person who sways and waves, as a smooth function of time, so that any frame rate can be sampled from it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.sequence import Sequence
from poselift.skeletons import SKELETONS, Skeleton

COCO = SKELETONS["coco17"]
IMAGE_SIZE = (1000, 800)


def keypoints(times_s: NDArray[np.float64], person: int = 0, source: Skeleton = COCO) -> NDArray[np.float64]:
    """Keypoints [F, J, 3], each joint on an ellipse of its own around its place; `person` chooses among many."""
    random = np.random.default_rng(person)
    place = random.uniform((300, 150), (700, 650), (source.n_joints, 2))
    reach = random.uniform(10, 40, (source.n_joints, 2))
    turns_hz = random.uniform(0.2, 0.8, (source.n_joints, 1))
    phase = random.uniform(0, 2 * np.pi, (source.n_joints, 2))
    positions = place + reach * np.sin(2 * np.pi * turns_hz * times_s[:, None, None] + phase)
    return np.concatenate([positions, np.full((*positions.shape[:2], 1), 0.9)], axis=-1)


def at_rate(fps: float, frames: int) -> NDArray[np.float64]:
    return np.arange(frames) / fps


def wandering(frames: int, seed: int = 0) -> NDArray[np.float64]:
    """Times of a webcam: its rate wanders between 24 and 33 frames per second, and every tenth frame is dropped."""
    random = np.random.default_rng(seed)
    rate_hz = 28.5 + 4.5 * np.sin(np.arange(2 * frames) / 20 + random.uniform(0, 6))
    times_s = np.cumsum(random.uniform(0.95, 1.05, 2 * frames) / rate_hz)
    return times_s[random.random(2 * frames) >= 0.1][:frames]


def body(points: NDArray[np.float64], *, fps: float = 50, **more: Any) -> dict[str, Any]:
    """The body of POST /lift for one person; NaN becomes null."""
    return {"keypoints": frames(points), "skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": fps, **more}


def frames(points: NDArray[np.float64]) -> list[Any]:
    """Keypoints or poses as JSON has them; a joint with a NaN becomes null, and a frame of these too."""
    joints = [[None if np.isnan(joint).any() else joint.tolist() for joint in frame] for frame in points]
    return [frame if any(frame) else None for frame in joints]


def sequence(points: NDArray[np.float64], *, fps: float = 50) -> Sequence:
    """The same keypoints as the core takes them."""
    width_px, height_px = IMAGE_SIZE
    return Sequence(points.astype(np.float32), COCO, width_px, height_px, Sequence.times_at(fps, len(points)))
