"""Write the files that a test reads."""

import json

import pytest


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
