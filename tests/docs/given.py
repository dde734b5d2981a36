"""What the documents assume a reader to have: detector output, recordings, checkpoints, a server with more models."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import set_label
from tests.docs.documents import REPOSITORY
from tests.golden_files import golden
from tests.integration.conftest import publish_completion_model
from tests.shipped_model import SHIPPED_MODEL

SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
RECORDING = REPOSITORY / "tests" / "data" / "cmu_05_15_cut.bvh"
OFFICIAL = {
    "no_refine_28_4306.pth": "pstmo_c64_h128_n27_l3",
    "best_epoch.bin": "mixste_c64_n27_d3",
    "finetuned_49_4310_3D.pth": "mpm_lift_c64_h128_n27_l3_j17",
    "completion_checkpoint.pth": "mpm_completion_c64_h128_n27_l3_j17",
}


def write_given_files(folder: Path) -> None:
    """Write everything that the documents name and do not make themselves."""
    clip = json.loads(SAMPLE.read_text(encoding="utf-8"))
    _write_openpose(folder / "openpose_output", clip)
    _write_coco(folder / "alphapose-results.json", clip)
    np.savez(folder / "keypoints.npz", keypoints=np.array(clip["keypoints"], np.float32))
    _write_recordings(folder / "recordings")
    _write_poses_with_gaps(folder / "poses_with_gaps.json")
    for file, name in OFFICIAL.items():
        _write_checkpoint(folder / file, name)


def _write_openpose(folder: Path, clip: dict[str, Any]) -> None:
    """One file per frame, with the 17 joints that BODY_25 shares with COCO; OpenPose writes zeros for the others."""
    body25 = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
    folder.mkdir()
    for frame, joints in enumerate(clip["keypoints"]):
        rows = [[0.0, 0.0, 0.0] for _ in range(25)]
        for place, joint in zip(body25, joints, strict=True):
            rows[place] = joint
        person = {"person_id": [-1], "pose_keypoints_2d": [value for row in rows for value in row]}
        (folder / f"video_{frame:012}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": [person]}))


def _write_coco(file: Path, clip: dict[str, Any]) -> None:
    rows = [[value for joint in joints for value in joint] for joints in clip["keypoints"]]
    people = [{"image_id": f"{frame}.jpg", "idx": 1, "keypoints": row} for frame, row in enumerate(rows)]
    file.write_text(json.dumps(people))


def _write_poses_with_gaps(file: Path) -> None:
    poses = [[[0.1 * axis + 0.02 * joint for axis in range(3)] for joint in range(17)] for _ in range(30)]
    with_gaps = [[None if joint == 13 else place for joint, place in enumerate(pose)] for pose in poses]
    file.write_text(json.dumps({"poses": with_gaps, "skeleton": "h36m17", "fps": 50}))


def _write_recordings(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        shutil.copy(RECORDING, folder / split / f"{split}-walk.bvh")


def _write_checkpoint(file: Path, name: str) -> None:
    weights = {key.removeprefix("weights/"): value for key, value in golden(name).items() if key.startswith("weights/")}
    torch.save({"model_pos": weights} if file.suffix == ".bin" else weights, file)


def publish_served_models(repository: Path) -> None:
    """Add what the server has besides the shipped model: two versions of `pose`, and a model that completes poses."""
    shipped = load_artifact(SHIPPED_MODEL)
    for _ in range(2):
        publish(repository, shipped.manifest.model_copy(update={"name": "pose", "version": 0}), shipped.lifter)
    set_label(repository, "pose", "stable", 1)
    publish_completion_model(repository)
