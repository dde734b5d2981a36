"""Checkpoints in the official form go through `poselift import`, are served, and answer with the official poses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from poselift.artifacts.artifact import load_artifact
from poselift.cli.app import app
from poselift.coordinates import to_pixels
from poselift.skeletons import skeleton
from tests.golden_files import golden
from tests.integration.server_process import ANSWER_S, running
from tests.integration.walking import at_rate, body, keypoints

OFFICIAL_M = 5e-5
# The square that makes pixels of screen coordinates without rounding: half a unit per pixel.
IMAGE_SIZE = (4, 4)
FPS = 50
GOLDEN = {
    "pstmo": "pstmo_c64_h128_n27_l3",
    "mixste": "mixste_c64_n27_d3",
    "mpm": "mpm_lift_c64_h128_n27_l3_j17",
    "mpm-completion": "mpm_completion_c64_h128_n27_l3_j17",
}


def checkpoint(system: str, prefix: str) -> object:
    """What an official training leaves, with the golden weights."""
    weights = {
        prefix + key.removeprefix("weights/"): value
        for key, value in golden(GOLDEN[system]).items()
        if key.startswith("weights/")
    }
    if system != "mixste":
        return weights
    optimiser = {"state": {}, "param_groups": [{"lr": 4e-5}]}
    return {
        "epoch": 3,
        "lr": 4e-5,
        "random_state": np.random.RandomState(0),
        "optimizer": optimiser,
        "model_pos": weights,
    }


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every system's network, of which version 2 comes from a file without the prefix."""
    folder = tmp_path_factory.mktemp("official")
    for system in GOLDEN:
        for prefix in ("module.", ""):
            file = folder / f"{system}{prefix}bin"
            torch.save(checkpoint(system, prefix), file)
            command = ["import", system.partition("-")[0], str(file), "--out", str(folder / "models")]
            ended = CliRunner().invoke(app, command)
            assert ended.exit_code == 0, ended.output
    return folder / "models"


@pytest.fixture(scope="module")
def server(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        running(imported, tmp_path_factory.mktemp("server") / "log", default_model="pstmo-official-27") as server,
        httpx.Client(base_url=server.address, timeout=ANSWER_S) as client,
    ):
        yield client


@pytest.mark.parametrize("system", GOLDEN)
def test_a_file_without_prefix_is_the_same_network(imported: Path, system: str):
    with_prefix, without = (load_artifact(imported / f"{system}-official-27" / version) for version in "12")
    assert with_prefix.manifest.system == system
    assert with_prefix.manifest.digest == without.manifest.digest
    assert with_prefix.lifter.receptive_field == 27
    assert with_prefix.manifest.missing_joints == ("token" if system == "mpm-completion" else "hold")


def tracks(name: str, windows: NDArray[np.float64]) -> dict[str, Any]:
    """Each window as a clip of its own, which is just long enough for one."""
    people = [{"track_id": str(number), name: window.tolist()} for number, window in enumerate(windows)]
    return {"tracks": people, "skeleton": "h36m17", "fps": FPS}


def answered(client: httpx.Client, path: str, body: dict[str, Any]) -> NDArray[np.float64]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return np.array([track["poses"] for track in response.json()["tracks"]])


def lifted(client: httpx.Client, system: str, windows: Tensor) -> NDArray[np.float64]:
    pixels = to_pixels(windows.numpy().astype(np.float64), *IMAGE_SIZE)
    body = tracks("keypoints", pixels) | {"image_size": IMAGE_SIZE, "model": f"{system}-official-27"}
    return answered(client, "/lift", body)


@pytest.mark.parametrize("system", ["pstmo", "mpm"])
def test_lifters_of_the_middle_frame_answer_with_the_official_poses(server: httpx.Client, system: str):
    vectors = golden(GOLDEN[system])
    middle = lifted(server, system, vectors["inputs/x_BNJ2"])[:, 13]  # the frame whose window has no edge
    official = vectors["outputs/single"][:, :, 0, :, 0].transpose(1, 2).numpy()  # [B, 17, 3]
    np.testing.assert_allclose(middle[:, 1:], official[:, 1:], atol=OFFICIAL_M)
    assert not middle[:, 0].any(), "the pelvis is the origin"


def test_mixste_answers_with_the_official_poses_of_all_frames(server: httpx.Client):
    vectors = golden(GOLDEN["mixste"])
    poses = lifted(server, "mixste", vectors["inputs/x_BTJ2"])
    np.testing.assert_allclose(poses[:, :, 1:], vectors["outputs/pose_BTJ3"][:, :, 1:].numpy(), atol=OFFICIAL_M)
    assert not poses[:, :, 0].any(), "the pelvis is the origin"


@pytest.mark.parametrize("system", ["pstmo", "mixste", "mpm"])
def test_networks_without_a_token_see_a_missing_joint_where_it_was_last(server: httpx.Client, system: str):
    pixels = keypoints(at_rate(FPS, 40), source=skeleton("h36m17"))
    missing, held = pixels.copy(), pixels.copy()
    missing[10:20, 16] = np.nan
    held[10:20, 16] = pixels[9, 16]
    poses = []
    for points in (missing, held):
        sent = body(points, skeleton="h36m17", model=f"{system}-official-27")
        answer = server.post("/lift", json=sent).json()
        poses.append(answer["poses"])
    np.testing.assert_allclose(poses[0], poses[1], atol=OFFICIAL_M)


def test_completed_poses_are_the_official_ones(server: httpx.Client):
    vectors = golden(GOLDEN["mpm-completion"])
    hidden = vectors["inputs/tube_mask_3d_BJ"].bool()
    poses = vectors["inputs/x3d_BNJ3"].numpy().astype(np.float64)
    people: list[Any] = [
        [[None if hidden[number, joint] else frame[joint].tolist() for joint in range(17)] for frame in window]
        for number, window in enumerate(poses)
    ]
    tracks = [{"track_id": str(number), "poses": window} for number, window in enumerate(people)]
    completed = answered(server, "/complete", {"tracks": tracks, "skeleton": "h36m17", "fps": FPS})
    np.testing.assert_allclose(completed, vectors["outputs/completed3d_BNJ3"].numpy(), atol=OFFICIAL_M)
    given = ~hidden.numpy()[:, None, :].repeat(27, axis=1)
    assert (completed[given] == poses[given]).all()
