"""A checkpoint in the official form goes through `poselift import`, is served, and answers with the official poses."""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import torch

from poselift.artifact import load_artifact
from poselift.coordinates import to_pixels
from tests.golden_files import golden
from tests.integration.server_process import ANSWER_S, REPOSITORY, environment, running

OFFICIAL_M = 5e-5
# The square that makes pixels of screen coordinates without rounding: half a unit per pixel.
IMAGE_SIZE = (4, 4)


def test_the_official_poses_are_served(tmp_path: Path):
    tensors = golden("pstmo_c64_h128_n27_l3")
    checkpoint = tmp_path / "no_refine_26_4290.pth"
    weights = {key.removeprefix("weights/"): value for key, value in tensors.items() if key.startswith("weights/")}
    torch.save({f"module.{key}": value for key, value in weights.items()}, checkpoint)
    models = tmp_path / "models"
    subprocess.run(
        [sys.executable, "-m", "poselift", "import", "pstmo", str(checkpoint), "--out", str(models)],
        cwd=REPOSITORY,
        env=environment(models),
        check=True,
        timeout=ANSWER_S,
    )
    (artifact,) = (load_artifact(folder) for folder in models.glob("*/1"))
    assert artifact.lifter.receptive_field == 27

    windows = tensors["inputs/x_BNJ2"].numpy()  # [B, 27, 17, 2]
    pixels = to_pixels(windows.astype(np.float64), *IMAGE_SIZE)
    sent = {
        "tracks": [{"track_id": str(n), "keypoints": window.tolist()} for n, window in enumerate(pixels)],
        "skeleton": "h36m17",
        "image_size": IMAGE_SIZE,
        "fps": 50,
    }
    with running(models, tmp_path / "log") as server:
        response = httpx.post(f"{server.address}/lift", json=sent, timeout=ANSWER_S)
    assert response.status_code == 200
    middle = np.array([track["poses"][13] for track in response.json()["tracks"]])  # the frame whose window has no edge
    official = tensors["outputs/single"][:, :, 0, :, 0].transpose(1, 2).numpy()  # [B, 17, 3]
    np.testing.assert_allclose(middle[:, 1:], official[:, 1:], atol=OFFICIAL_M)
    assert not middle[:, 0].any(), "the pelvis is the origin"
