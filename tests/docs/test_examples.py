"""The example with a webcam; `docs/client.md` runs the others."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.client import Client
from tests.docs.documents import REPOSITORY
from tests.integration.server_process import running

cv2 = pytest.importorskip("cv2", reason="no OpenCV: `make check` installs it")

FPS, FRAMES, WIDTH_PX, HEIGHT_PX = 25, 40, 640, 480
EMPTY = range(10, 13)
EXAMPLE_S = 300
PRINTED_TO_M = 2e-3  # it prints millimetres

# The detector downloads its networks. In its place: the joints lie around the white square, or nobody is there.
RTMLIB = """
import numpy as np

class Body:
    def __init__(self, mode):
        assert mode == "lightweight"

    def __call__(self, image):
        below, right = np.nonzero(image[:, :, 0] > 128)
        if not len(right):
            return np.zeros((2, 17, 2)), np.full((2, 17), 0.05)
        place = np.array([right.mean(), below.mean()])
        nobody = np.zeros((17, 2))
        return np.stack([nobody, place + np.array(OFFSETS)]), np.stack([np.full(17, 0.1), np.full(17, 0.9)])
"""


def test_a_webcam_is_lifted_with_the_times_of_its_frames(tmp_path: Path):
    offsets = np.random.default_rng(1).uniform(-60, 60, (17, 2)).round(1)
    (tmp_path / "rtmlib.py").write_text(RTMLIB.replace("OFFSETS", repr(offsets.tolist())))
    places = record(tmp_path / "video.avi")
    with running(REPOSITORY / "models", tmp_path / "log", default_model="pstmo-tiny-27", engine="torch") as server:
        printed = run_example(tmp_path, "video.avi", server.address)
        expected = heads(server.address, places, offsets)
    assert [int(line[0]) for line in printed] == list(range(FRAMES))
    np.testing.assert_allclose([[float(text) for text in line[1:]] for line in printed], expected, atol=PRINTED_TO_M)


def record(file: Path) -> NDArray[np.float64]:
    """Write a video of a square that moves; returns where its centre is in each frame."""
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH_PX, HEIGHT_PX))
    places = []
    for frame in range(FRAMES):
        image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        left, top = 200 + 6 * frame, 160 + 4 * frame
        if frame not in EMPTY:
            image[top : top + 32, left : left + 32] = 255
        video.write(image)
        places.append((left + 15.5, top + 15.5))
    video.release()
    return np.array(places)


def run_example(folder: Path, *arguments: str) -> list[list[str]]:
    """The words of each line that it prints."""
    command = [sys.executable, "-W", "error", str(REPOSITORY / "docs" / "examples" / "webcam.py"), *arguments]
    paths = os.pathsep.join([str(folder), str(REPOSITORY)])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=EXAMPLE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def heads(url: str, places: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the head is in each frame, at the constant rate that the video has."""
    keypoints = np.full((FRAMES, 17, 3), 0.9)
    keypoints[:, :, :2] = places[:, None] + offsets
    keypoints[EMPTY] = np.nan
    size = (WIDTH_PX, HEIGHT_PX)
    with Client(url) as client, client.stream(skeleton="coco17", image_size=size, fps=FPS, lookahead=5) as stream:
        head = stream.session.joint_names.index("head")
        return np.array([pose.joints[head] for pose in stream.poses(keypoints)])
