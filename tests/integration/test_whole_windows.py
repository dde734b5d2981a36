"""A lifter that answers with all frames of a window, on real servers: clips without seams, and live streams."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.coordinates import mirror
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifting import finish, screen_frames
from poselift.windows import chunk_indices
from tests.integration.server_process import ANSWER_S
from tests.integration.stream_clients import CLIENTS, Client, LiftedFrame, Replica, open_session
from tests.integration.walking import at_rate, body, keypoints, sequence

FPS, FRAMES = 50, 27
# The same frames in other batches, and what JSON rounds.
SAME_FRAMES_M = 5e-6 + 1e-6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = MixSTE(MixSTEConfig(FRAMES, 32, 64, 1, heads=4, mask_token=True))
        torch.nn.init.normal_(lifter.joint_position)
        # Poses that drift over a window make seams between windows.
        lifter.frame_position.data = torch.linspace(-1, 1, FRAMES)[:, None] * torch.randn(32)
    draft = Manifest(
        name="drifting",
        system="mixste",
        network={},
        input_skeleton="coco17",
        output_skeleton="h36m17",
        frame_rate_hz=FPS,
        temporal_stride=1,
        missing_joints="token",
    )
    publish(repository, draft, lifter)
    return repository


@pytest.fixture(scope="module")
def artifact(models: Path) -> Artifact:
    return load_artifact(models / "drifting" / "1")


def posted(replica: Replica, points: NDArray[np.float64]) -> NDArray[np.float64]:
    answer = httpx.post(f"{replica.address}/lift", json=body(points, fps=FPS), timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["poses"])


@torch.inference_mode()
def back_to_back(artifact: Artifact, points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Every second window shows the mirrored person, as in the windows that are blended."""
    manifest = artifact.manifest
    screen = torch.from_numpy(screen_frames(sequence(points, fps=FPS), manifest).screen)
    windows = screen[torch.from_numpy(chunk_indices(len(points), FRAMES))]
    windows[1::2] = mirror(windows[1::2], manifest.source)
    poses = finish(artifact.lifter(windows).answer, manifest).numpy()
    poses[1::2] = mirror(poses[1::2], manifest.target)
    return poses.reshape(-1, *poses.shape[2:])


def test_clips_have_no_seams(replicas: list[Replica], artifact: Artifact):
    """Whoever stands still has no velocity, so every step of the answer is an error."""
    still = np.repeat(keypoints(np.zeros(1)), 8 * FRAMES, axis=0)
    errors_m = {
        name: np.linalg.norm(np.diff(poses, axis=0), axis=-1).mean(axis=-1)
        for name, poses in (("blended", posted(replicas[0], still)), ("cut", back_to_back(artifact, still)))
    }
    seams = np.arange(1, 8) * FRAMES - 1  # from the last frame of a window to the first of the next
    assert errors_m["cut"][seams].mean() > 5 * np.delete(errors_m["cut"], seams).mean()
    # The share of a window changes by a tenth from frame to frame, and windows differ less at their ends than between.
    assert errors_m["blended"].max() < 0.15 * errors_m["cut"][seams].mean()


def messages(client: Client, points: NDArray[np.float64], first: int, sizes: list[int]) -> list[LiftedFrame]:
    """Send frames from an index on in messages of some sizes, in turn; each message twice, as after a lost answer."""
    lifted = []
    while first < len(points):
        size = sizes[first % len(sizes)]
        answers = []
        for _ in range(2):
            client.send(first, points[first : first + size])
            answers.append(client.receive().frames)
        for once, again in zip(*answers, strict=True):
            assert once.index == again.index
            np.testing.assert_allclose(once.pose, again.pose, atol=SAME_FRAMES_M)
        lifted += answers[0]
        first += size
    return lifted


@pytest.mark.parametrize("lookahead", [0, 5, None])
def test_every_transport_and_replica_gives_the_same_poses(replicas: list[Replica], lookahead: int | None):
    points = keypoints(at_rate(FPS, 90)).astype(np.float32).astype(np.float64)
    points[30:34, 9] = np.nan
    streamed = {}
    for number, (kind, client_of) in enumerate(CLIENTS.items()):
        session_id = open_session(replicas[0], fps=FPS, lookahead=lookahead)
        left_at = 20 + 10 * number  # then the other replica goes on
        with client_of(replicas[0], session_id) as client:
            lifted = messages(client, points[:left_at], 0, [1 + number])
        with client_of(replicas[1], session_id) as client:
            lifted += messages(client, points, left_at, [1, 3, 9])
            client.end()
            lifted += client.receive().frames
        assert [frame.index for frame in lifted] == list(range(90))
        if lookahead is not None:
            assert [frame.lookahead for frame in lifted] == [min(lookahead, 89 - index) for index in range(90)]
        streamed[kind] = np.array([frame.pose for frame in lifted])
    for kind, poses in streamed.items():
        np.testing.assert_allclose(poses, streamed["grpc"], atol=SAME_FRAMES_M, err_msg=kind)
    if lookahead is None:
        np.testing.assert_allclose(streamed["grpc"], posted(replicas[0], points), atol=SAME_FRAMES_M)
