"""What the tests of tables share: names of joints, and what they ask of a table that was read."""

from pathlib import Path
from typing import Any

import numpy as np

from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.skeletons import SKELETONS

COCO = SKELETONS["coco17"].joint_names
ASKED: dict[str, Any] = {"fps": 60.0, "image_size": (1080, 1920)}
SCORED = ("x", "y", "score")


def read(path: Path, **given: Any) -> Any:
    return read_keypoints(path, **(ASKED | given))


def assert_holds(path: Path, expected: Any, *, skeleton: str = "coco17", atol: float = 1e-3, **given: Any) -> None:
    """Assert that a file holds one person with these keypoints."""
    (track,), warnings = read(path, **given)
    assert (track.track_id, track.sequence.skeleton.name, warnings) == (None, skeleton, ())
    found = track.sequence.keypoints
    np.testing.assert_allclose(found[..., :2], expected[..., :2], atol=atol)
    is_seen = ~np.isnan(expected[..., 0])
    np.testing.assert_allclose(found[is_seen], expected[is_seen], atol=atol)


def shifted(detected: Any, people: int = 1) -> Any:
    """The same person farther to the right."""
    return detected + np.array([300.0 * people, 0, 0])
