"""Clips of many joints, and what is done with them in the thread of the event loop."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SKELETON, SIZE = "wholebody133", (200, 100)
# Whatever takes longer with each joint.
WORK_ON_JOINTS = {"check_keypoints", "shares_to_pixels", "mark_missing", "check_plausibility", "screen_frames"}
LIVE_WORK_ON_JOINTS = {"check_keypoints", "shares_to_pixels", "mark_missing", "check_live_frames"}


def shares(frames: int) -> Any:
    """Keypoints [F, 133, 3] as shares of the picture, some of them missing."""
    points = np.random.default_rng(0).uniform(0.1, 0.9, (frames, 133, 3)).round(3)
    points[:, 5] = -1
    return points


@contextmanager
def functions_called() -> Iterator[set[str]]:
    """The names of the functions that this thread calls meanwhile."""
    names: set[str] = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: names.add(frame.f_code.co_name) if event == "call" else None)
    try:
        yield names
    finally:
        sys.setprofile(before)
