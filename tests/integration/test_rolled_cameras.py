"""A camera that is told to be turned about its optical axis: over every transport, poses are turned as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.artifacts.publish import publish
from tests.integration.conftest import MODEL, publish_random_models
from tests.integration.server_process import ServerProcess
from tests.integration.stream_clients import CLIENTS, Replica, open_session
from tests.integration.transports import Transport
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints
from tests.random_artifact import random_artifact

FRAMES = 60
AVERAGED = "averaged"
NETWORK = {"frames": 27, "channels": 32, "hidden": 64, "layers": 2, "heads": 4, "mask_token": True}
# Answers are rounded to 10 micrometres, and windows are lifted in other batches.
SAME_POSES_M = 1e-4
MIDDLE = np.array(IMAGE_SIZE) / 2
UPRIGHT: dict[str, Any] = {"pitch_deg": 10, "roll_deg": 0}
# Clockwise, so that what it sees turns counter-clockwise: from (x, y) to (y, -x), y being downwards.
ROLLED: dict[str, Any] = {"pitch_deg": 10, "roll_deg": 90}


def rolled(points: NDArray[np.float64], middle: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
    turned = points.copy()
    x, y = np.moveaxis(points[..., :2] - middle, -1, 0)
    turned[..., :2] = np.stack([y, -x], axis=-1) + middle
    return turned


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with a pose for a window, and one whose live poses are averaged."""
    repository = tmp_path_factory.mktemp("models")
    publish_random_models(repository)
    random = random_artifact("pstmo-sequence", NETWORK, name=AVERAGED, temporal_stride=3, smoothed=True)
    publish(repository, random.manifest, random.lifter)
    return repository


@pytest.mark.parametrize("model", [MODEL, AVERAGED])
def test_clips(transport: Transport, model: str):
    points = keypoints(at_rate(50, FRAMES))
    sent = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, "model": model}
    upright, sideways = (
        transport.lift({**sent, "keypoints": seen, "camera": camera}).people[0].joints
        for seen, camera in ((points, UPRIGHT), (rolled(points, MIDDLE), ROLLED))
    )
    np.testing.assert_allclose(sideways, rolled(np.asarray(upright)), atol=SAME_POSES_M)
    assert np.abs(np.asarray(sideways) - upright).max() > 100 * SAME_POSES_M


@pytest.mark.parametrize("model", [MODEL, AVERAGED])
@pytest.mark.parametrize("lookahead", [0, 9])
@pytest.mark.parametrize("kind", CLIENTS)
def test_streams(both: ServerProcess, grpc_port: int, kind: str, lookahead: int, model: str):
    replica = Replica(both.address, grpc_port)
    points = keypoints(at_rate(50, FRAMES))
    poses = []
    for seen, camera in ((points, UPRIGHT), (rolled(points, MIDDLE), ROLLED)):
        known: dict[str, Any] = {"image_size": IMAGE_SIZE, "camera": camera, "model": model}
        session = open_session(replica, fps=50, lookahead=lookahead, **known)
        with CLIENTS[kind](replica, session) as client:
            client.send(0, seen)
            first = client.receive()
            client.end()
            last = client.receive()
        poses.append(np.array([frame.pose for answer in (first, last) for frame in answer.frames]))
    assert len(poses[0]) == FRAMES
    np.testing.assert_allclose(poses[1], rolled(poses[0]), atol=SAME_POSES_M)
    assert np.abs(poses[1] - poses[0]).max() > 100 * SAME_POSES_M
