"""A lifter that answers for the targets of live windows alone, on real servers, beside clips in the same batches."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.publish import publish
from poselift.averaged_window import stream_window
from poselift.lifters.lifter import answers
from poselift.lifting import finish, lift
from poselift.live_window import KeptFrames, arriving_frames
from tests.integration.server_process import ANSWER_S
from tests.integration.stream_clients import CLIENTS, Replica, open_session
from tests.integration.test_whole_windows import SAME_FRAMES_M, messages
from tests.integration.walking import at_rate, body, keypoints, sequence
from tests.random_artifact import random_artifact

FPS, FRAMES, CLIPS = 50, 60, 20
NETWORK = {"frames": 27, "channels": 32, "hidden": 64, "layers": 4, "heads": 4, "mask_token": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    random = random_artifact("pstmo-sequence", NETWORK, name="targets", temporal_stride=3, smoothed=True)
    temporal = cast(nn.Module, cast(nn.Module, random.lifter).temporal)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in temporal.parameters():  # some are zero in a new network
            parameter.normal_(std=0.2)
    publish(repository, random.manifest, random.lifter)
    return repository


@pytest.fixture(scope="module")
def artifact(models: Path) -> Artifact:
    return load_artifact(models / "targets" / "1")


@torch.inference_mode()
def live_poses(artifact: Artifact, points: NDArray[np.float64], lookahead: int) -> NDArray[np.floating]:
    """The poses of all frames of a stream, with this lookahead as long as frames come."""
    kept = arriving_frames(sequence(points, fps=FPS), artifact.manifest, 0, KeptFrames.none(artifact.manifest))
    prepared = stream_window(artifact.manifest, FPS, lookahead).prepare(kept, range(len(points)))
    assert prepared.ahead is not None
    network = artifact.lifter.for_inference()
    samples = network.embed(torch.from_numpy(prepared.frames))[torch.from_numpy(prepared.index)]
    outputs = answers(network, samples, torch.from_numpy(prepared.ahead))
    return prepared.poses(finish(outputs, artifact.manifest).numpy(), artifact.manifest).joints


@pytest.mark.parametrize("lookahead", [0, 5, 15])
def test_streams_and_clips_get_their_own_poses_on_every_transport(
    replicas: list[Replica], artifact: Artifact, lookahead: int
):
    points = keypoints(at_rate(FPS, FRAMES)).astype(np.float32).astype(np.float64)
    points[30:34, 9] = np.nan
    expected = live_poses(artifact, points, lookahead)
    with ThreadPoolExecutor(1) as background:
        clips = background.submit(posted, replicas[0], points)
        for number, (kind, client_of) in enumerate(CLIENTS.items()):
            with client_of(replicas[0], open_session(replicas[0], fps=FPS, lookahead=lookahead)) as client:
                lifted = messages(client, points, 0, [1 + number])
                client.end()
                lifted += client.receive().frames
            poses = np.array([frame.pose for frame in lifted])
            np.testing.assert_allclose(poses, expected, atol=SAME_FRAMES_M, err_msg=kind)
    whole = lift(artifact, sequence(points, fps=FPS)).joints
    for clip in clips.result():
        np.testing.assert_allclose(clip, whole, atol=SAME_FRAMES_M)


def posted(replica: Replica, points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """What POST /lift answers again and again."""
    poses = []
    for _ in range(CLIPS):
        answer = httpx.post(f"{replica.address}/lift", json=body(points, fps=FPS), timeout=ANSWER_S)
        assert answer.status_code == 200, answer.text
        poses.append(np.array(answer.json()["poses"]))
    return poses
