"""Expected errors of a network that knows them, over every transport, in clips and live streams, on a real server."""

from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch
from torch import nn

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.publish import publish
from poselift.lifters import systems
from poselift.lifting import lift
from tests.integration.conftest import MAX_FRAMES, MODEL, NETWORK, publish_random_models, small_draft
from tests.integration.server_process import ServerProcess
from tests.integration.stream_clients import CLIENTS, LiftedFrame, Replica, open_session
from tests.integration.transports import Transport
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints, sequence

KNOWING = "knowing-27"
FPS = 30
# JSON gives 10 micrometres; fused blocks and another order of additions.
SAME_NUMBERS_M = 5e-6 + 2e-5
STREAMED_M = 1e-4  # what the contract of sessions promises


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows its errors, as it was initialised but for some noise, beside those that do not."""
    repository = tmp_path_factory.mktemp("models")
    publish_random_models(repository)
    network = {**NETWORK, "expected_error": True}
    draft = small_draft(KNOWING, network, unit_m=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        lifter = systems.build("pstmo", network)
        for parameter in cast(nn.Module, lifter).parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        publish(repository, draft, lifter)
    return repository


@pytest.fixture(scope="module")
def artifact(models: Path) -> Artifact:
    return load_artifact(models / KNOWING / "1")


def clip(**changes: Any) -> dict[str, Any]:
    """A good request, with fields replaced; `...` takes one away."""
    asked = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "model": KNOWING}
    fields = {"keypoints": walk(60), **asked, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def walk(frames: int, person: int = 0) -> Any:
    """With gaps, and in the nearest numbers that both JSON and the floats of protobuf can say."""
    points = keypoints(at_rate(FPS, frames), person).astype(np.float32).astype(np.float64)
    points[frames // 3 : frames // 2, 9] = np.nan
    return points


CLIPS = {
    "one person": clip(),
    "a long answer": clip(keypoints=walk(MAX_FRAMES)),
    "some frames": clip(targets=[0, 7, 59]),
    "mirrored averaging": clip(mirrored_average=True),
    "several people": clip(
        keypoints=...,
        mirrored_average=True,
        tracks=[{"track_id": "7", "keypoints": walk(40, 7)}, {"track_id": "ä", "keypoints": walk(30, 8)}],
    ),
}


@pytest.mark.parametrize("name", CLIPS)
def test_every_transport_tells_the_errors_of_the_core(transports: dict[str, Transport], artifact: Artifact, name: str):
    sent = CLIPS[name]
    answers = {transport: client.lift(sent) for transport, client in transports.items()}
    for number, asked in enumerate(sent.get("tracks", [sent])):
        expected = lift(
            artifact, sequence(asked["keypoints"], fps=FPS), mirrored_average=sent.get("mirrored_average", False)
        )
        assert expected.expected_error_m is not None
        assert expected.expected_error_m[:, 1:].std() > 100 * SAME_NUMBERS_M
        assert not expected.expected_error_m[:, 0].any()
        chosen = sent.get("targets", slice(None))
        for answer in answers.values():
            person = answer.people[number]
            assert person.expected_error_m is not None
            np.testing.assert_allclose(person.joints, expected.joints[chosen], atol=SAME_NUMBERS_M)
            np.testing.assert_allclose(person.expected_error_m, expected.expected_error_m[chosen], atol=SAME_NUMBERS_M)


@pytest.mark.parametrize("kind", CLIENTS)
def test_streamed_with_full_lookahead_they_are_those_of_the_whole(
    both: ServerProcess, grpc_port: int, transports: dict[str, Transport], kind: str
):
    (whole,) = transports["grpc"].lift(clip()).people
    lifted = streamed(Replica(both.address, grpc_port), kind, KNOWING)
    assert whole.expected_error_m is not None
    errors_m = [frame.expected_error_m for frame in lifted if frame.expected_error_m is not None]
    np.testing.assert_allclose(errors_m, whole.expected_error_m, atol=STREAMED_M)
    np.testing.assert_allclose([frame.pose for frame in lifted], whole.joints, atol=STREAMED_M)


def streamed(replica: Replica, kind: str, model: str) -> list[LiftedFrame]:
    """The same clip, in messages of one frame and of several."""
    points = walk(60)
    with CLIENTS[kind](replica, open_session(replica, fps=FPS, model=model)) as client:
        lifted = []
        for first, last in ((0, 1), (1, 30), (30, 31), (31, 60)):
            client.send(first, points[first:last])
            lifted += client.receive().frames
        client.end()
        return lifted + client.receive().frames


def test_a_network_without_them_tells_none(both: ServerProcess, grpc_port: int, transports: dict[str, Transport]):
    for transport in transports.values():
        (person,) = transport.lift(clip(model=MODEL)).people
        assert person.expected_error_m is None
    for kind in CLIENTS:
        lifted = streamed(Replica(both.address, grpc_port), kind, MODEL)
        assert [frame.expected_error_m for frame in lifted] == [None] * 60


def test_models_say_whether_they_know_them(both: ServerProcess):
    told = {model["name"]: model["expected_error"] for model in httpx.get(f"{both.address}/models").json()}
    assert told == {KNOWING: True, MODEL: False}
