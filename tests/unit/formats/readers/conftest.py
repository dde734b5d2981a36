"""Write the files that a test reads."""

import json
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def write(tmp_path):
    def write(document, name="detections.json"):
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def openpose_folder(tmp_path):
    def write(frames, video="clip"):
        folder = tmp_path / "openpose"
        folder.mkdir(exist_ok=True)
        for number, frame in frames.items():
            (folder / f"{video}_{number:012}_keypoints.json").write_text(json.dumps(frame))
        return folder

    return write


@pytest.fixture(scope="session")
def data():
    return REPOSITORY / "tests" / "data" / "detectors"


@pytest.fixture(scope="session")
def sample():
    """Keypoints [100, 17, 3] of the clip that the files of `tests/data/detectors` were made from."""
    document = json.loads((REPOSITORY / "service/poselift_service/web/sample.json").read_text())
    return np.array(document["keypoints"])
