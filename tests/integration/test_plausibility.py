"""Warnings, `strict` and `coordinates` over every transport, on a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, REPOSITORY, running
from tests.integration.stream_clients import CLIENTS, Replica, open_session
from tests.integration.stream_clients import Refusal as StreamRefusal
from tests.integration.transports import Refusal, Transport
from tests.integration.walking import frames

SAMPLE = json.loads((REPOSITORY / "service/poselift_service/web/sample.json").read_text())
SIZE = WIDTH, HEIGHT = tuple(SAMPLE["image_size"])
FPS = 60
# Sums in another order.
SAME_POSES_M = 2e-5
# The shortest of a thousand frames that is read piece by piece.
LONG = 500


def walker(frames: int = 100) -> NDArray[np.float64]:
    """Keypoints [F, 17, 3] of the sample, upright in a picture of 1080 x 1920."""
    points = np.array([[joint or [np.nan] * 3 for joint in frame] for frame in SAMPLE["keypoints"]])
    return np.resize(points, (frames, 17, 3)).astype(np.float32).astype(np.float64)


def scaled(points: NDArray[np.float64], x: float, y: float) -> NDArray[np.float64]:
    return points * (x, y, 1)


def shares(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return scaled(points, 1 / WIDTH, 1 / HEIGHT)


def flipped(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return scaled(points, 1, -1) + np.array((0, HEIGHT, 0))


def clip(points: NDArray[np.float64] | None = None, **changes: Any) -> dict[str, Any]:
    points = walker() if points is None else points
    fields = {"keypoints": points, "skeleton": "coco17", "image_size": SIZE, "fps": FPS, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


# Its polynomial turns back at a quarter of the focal length.
NARROW_LENS = {"fov_deg": 90, "distortion": [-5, 0, 0, 0]}
IMPLAUSIBLE = {
    "upside down": (clip(flipped(walker())), "upside_down", "keypoints"),
    "one of several people upside down": (
        clip(
            keypoints=...,
            tracks=[{"track_id": "7", "keypoints": walker()}, {"track_id": "8", "keypoints": flipped(walker())}],
        ),
        "upside_down",
        "tracks[1].keypoints",
    ),
    "width and height exchanged": (clip(image_size=(HEIGHT, WIDTH)), "picture_turned", "image_size"),
    "a smaller picture": (clip(image_size=(360, 640)), "outside_picture", "keypoints"),
    "milliseconds": (
        clip(fps=..., timestamps_s=(np.arange(100) * 1000 / FPS).tolist()),
        "times_not_in_seconds",
        "timestamps_s",
    ),
    "a frame in two seconds": (clip(fps=0.5), "unusual_frame_rate", "fps"),
    "a long clip upside down": (clip(flipped(walker(LONG))), "upside_down", "keypoints"),
    "a lens that shows next to nothing": (clip(camera=NARROW_LENS), "outside_lens", "camera.distortion"),
}


@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_what_is_likely_wrong_is_answered_with_a_warning(transport: Transport, name: str):
    sent, code, path = IMPLAUSIBLE[name]
    answer = transport.lift(sent)
    (warning,) = answer.warnings
    assert (warning.code, warning.path) == (code, path)
    assert warning.message.endswith(".")
    with pytest.raises(Refusal) as refused:
        transport.lift(sent | {"strict": True})
    assert (refused.value.code, refused.value.message, refused.value.path) == ("invalid_request", warning.message, path)


def test_only_the_people_who_are_chosen_must_be_plausible(transport: Transport):
    sent, code, path = IMPLAUSIBLE["one of several people upside down"]
    assert transport.lift(sent | {"person_choice": "7", "strict": True}).warnings == []
    (warning,) = transport.lift(sent | {"person_choice": "8"}).warnings
    assert (warning.code, warning.path) == (code, path)


def test_a_usual_clip_has_no_warnings(transport: Transport):
    assert transport.lift(clip(strict=True)).warnings == []
    assert transport.lift(clip(coordinates="pixels")).warnings == []


def test_shares_of_the_picture_are_refused_unless_they_are_said_to_be(transport: Transport):
    with pytest.raises(Refusal, match='"coordinates": "normalised"') as refused:
        transport.lift(clip(shares(walker())))
    assert (refused.value.code, refused.value.path) == ("invalid_request", "keypoints")
    for points in (walker(), walker(LONG)):
        given = transport.lift(clip(shares(points), coordinates="normalised"))
        assert given.warnings == []
        expected = transport.lift(clip(points))
        np.testing.assert_allclose(given.people[0].joints, expected.people[0].joints, atol=SAME_POSES_M)
    with pytest.raises(Refusal, match="they are no shares of the picture") as refused:
        transport.lift(clip(coordinates="normalised"))
    assert refused.value.path == "coordinates"


def test_unknown_coordinates(transport: Transport):
    with pytest.raises(Refusal, match=r"pixels.*normalised") as refused:
        transport.lift(clip(coordinates="normalized"))
    assert refused.value.path == "coordinates"


@pytest.fixture(scope="module")
def replica(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    port = free_port()
    with running(models, tmp_path_factory.mktemp("live") / "log", grpc_port=port) as server:
        yield Replica(server.address, port)


@pytest.mark.parametrize("kind", CLIENTS)
def test_messages_of_a_stream_are_answered_with_warnings(replica: Replica, kind: str):
    aside = walker(1) * (0.3, 0.3, 1) + (1300, 0, 0)
    session_id = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE)
    with CLIENTS[kind](replica, session_id) as client:
        client.send(0, walker(3))
        assert client.receive().warnings == []
        client.send(3, aside)
        (warning,) = client.receive().warnings
        assert (warning.code, warning.path) == ("picture_turned", "image_size")
        client.end()
        assert client.receive().warnings == []
    strict = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE, strict=True)
    with CLIENTS[kind](replica, strict) as client:
        client.send(0, aside)
        with pytest.raises(StreamRefusal) as refused:
            client.receive()
        assert (refused.value.code, refused.value.path) == ("invalid_request", "image_size")


@pytest.mark.parametrize("kind", CLIENTS)
def test_messages_of_a_stream_are_answered_with_warnings_about_its_camera(replica: Replica, kind: str):
    session_id = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE, camera=NARROW_LENS)
    with CLIENTS[kind](replica, session_id) as client:
        client.send(0, walker(3))
        (warning,) = client.receive().warnings
        assert (warning.code, warning.path) == ("outside_lens", "camera.distortion")


def test_json_in_a_binary_message_is_read_as_json(replica: Replica):
    session_id = open_session(replica, fps=FPS, lookahead=0.0, image_size=[float(side) for side in SIZE])
    with connect(f"{replica.websocket_address}/sessions/{session_id}/stream", open_timeout=ANSWER_S) as socket:
        for number, points in enumerate(frames(walker(3))):
            socket.send(json.dumps({"frame_index": float(number), "keypoints": [points]}).encode())
            answer = json.loads(socket.recv(ANSWER_S))
            assert [frame["frame_index"] for frame in answer["frames"]] == [number]
        socket.send(b'{"end": true}')
        assert json.loads(socket.recv(ANSWER_S))["next_frame_index"] == 3
    other = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE)
    with connect(f"{replica.websocket_address}/sessions/{other}/stream", open_timeout=ANSWER_S) as socket:
        socket.send(b"[1, 2]")
        message = json.loads(socket.recv(ANSWER_S))["error"]["message"]
        assert "JSON is sent as application/json, or in a text message of a WebSocket" in message


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_stream_of_shares_of_the_picture(replica: Replica, kind: str):
    said = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE, coordinates="normalised")
    unsaid = open_session(replica, fps=FPS, lookahead=0, image_size=SIZE)
    with CLIENTS[kind](replica, said) as client:
        client.send(0, shares(walker(5)))
        given = client.receive()
    with CLIENTS[kind](replica, unsaid) as client:
        client.send(0, walker(5))
        expected = client.receive()
        client.send(5, shares(walker(5)))
        with pytest.raises(StreamRefusal) as refused:
            client.receive()
    path = "keypoints" if kind in ("post", "websocket-json") else "frames[0].keypoints"
    assert (refused.value.code, refused.value.path) == ("invalid_request", path)
    assert given.warnings == []
    for one, other in zip(given.frames, expected.frames, strict=True):
        np.testing.assert_allclose(one.pose, other.pose, atol=SAME_POSES_M)


def test_a_session_is_created_with_both_over_grpc(replica: Replica):
    with grpc.insecure_channel(f"127.0.0.1:{replica.grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        opening = pb.CreateSessionRequest(
            skeleton="coco17",
            image_size=pb.ImageSize(width_px=WIDTH, height_px=HEIGHT),
            fps=FPS,
            lookahead=0,
            coordinates="normalised",
            strict=True,
        )
        session_id = stub.CreateSession(opening, timeout=ANSWER_S).session.session_id
        with CLIENTS["grpc"](replica, session_id) as client:
            client.send(0, shares(walker(2)))
            assert len(client.receive().frames) == 2
            client.send(2, shares(walker(1)) * (0.3, 0.3, 1) + (1.2, 0, 0))
            with pytest.raises(StreamRefusal) as refused:
                client.receive()
            assert refused.value.code == "invalid_request"
        opening.coordinates = "percent"
        with pytest.raises(grpc.RpcError, match="Coordinates are"):
            stub.CreateSession(opening, timeout=ANSWER_S)
