"""Messages of a stranger that would take much time or memory: they are refused before either is spent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from poselift_service.codecs.protobuf.counts import most_bytes
from poselift_service.pipeline.request import Limits
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from tests.integration.conftest import MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import ServerProcess, running
from tests.integration.stall import noticed
from tests.integration.transports import PROTOBUF

MEBIBYTE = 1 << 20
SERVICE = "/poselift.v1.LiftingService/"
# The longest wait of others that is not blamed on a busy machine, and the memory for a few copies of a message. Parsing
# one of these messages takes more than ten times as much of both.
MAX_STALL_S, MAX_GROWN_BYTES = 1.0, 150 * MEBIBYTE
SIZE = pb.ImageSize(width_px=640, height_px=480)
GOOD = {
    "lift": pb.LiftRequest(skeleton="coco17", image_size=SIZE, fps=30).SerializeToString(),
    "complete": pb.CompleteRequest(skeleton="h36m17", fps=30).SerializeToString(),
}
EMPTY_TRACKS = b"\x12\x00" * MEBIBYTE
TARGETS = {
    "lift": b"\x4a\x80\x80\x80\x02" + b"\x01" * 4 * MEBIBYTE,
    "complete": b"\x42\x80\x80\x80\x02" + b"\x01" * 4 * MEBIBYTE,
}
FRAMES = pb.LiftStreamRequest(
    session_id=f"{1:016x}-{1:032x}", frames=[pb.Frame(frame_index=index) for index in range(300_000)]
)
# What would take long in each call; calls about sessions have no repeated fields.
MESSAGES = {
    "Lift": GOOD["lift"] + EMPTY_TRACKS,
    "Complete": GOOD["complete"] + EMPTY_TRACKS,
    "LiftStream": FRAMES.SerializeToString(),
    "LiftStreams": pb.LiftStreamsRequest(sessions=[FRAMES]).SerializeToString(),
    "LiftStreams: sessions": b"\n\x00" * MEBIBYTE,
    "CreateSession": EMPTY_TRACKS,
    "GetSession": EMPTY_TRACKS,
    "ListModels": EMPTY_TRACKS,
}


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("bounds") / "log"
    with running(models, log, default_model=f"{MODEL}@stable", grpc_port=grpc_port) as server:
        yield server


def opened(server: ServerProcess, **headers: str) -> str:
    """Open a session; returns its ID."""
    opening = {"skeleton": "coco17", "image_size": [640, 480], "fps": 50, "lookahead": 0}
    session_id: str = httpx.post(f"{server.address}/sessions", json=opening, headers=headers).json()["session_id"]
    return session_id


@pytest.mark.parametrize("call", ["lift", "complete"])
@pytest.mark.parametrize("field", ["tracks", "targets"])
def test_counts_are_checked_before_a_body_is_parsed(server: ServerProcess, call: str, field: str):
    body = GOOD[call] + (EMPTY_TRACKS if field == "tracks" else TARGETS[call])
    with noticed(server) as seen:
        answer = httpx.post(f"{server.address}/{call}", content=body, headers={"content-type": PROTOBUF}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["path"]) == (422, field)
    assert "(setting max_" in answer.json()["error"]["message"]
    assert seen.stall_s < MAX_STALL_S
    assert seen.grown_bytes < MAX_GROWN_BYTES


@pytest.mark.parametrize("method", MESSAGES)
def test_counts_are_checked_before_a_message_is_parsed(server: ServerProcess, grpc_port: int, method: str):
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, noticed(server) as seen:
        call: Any = channel.stream_stream(SERVICE + method.partition(":")[0])(iter([MESSAGES[method]]))  # type: ignore[arg-type]
        with pytest.raises(grpc.RpcError):
            list(call)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert seen.stall_s < MAX_STALL_S
    assert seen.grown_bytes < MAX_GROWN_BYTES


def test_counts_are_checked_before_a_message_over_websocket_is_parsed(server: ServerProcess):
    session_id = opened(server)
    address = server.address.replace("http", "ws", 1)
    with connect(f"{address}/sessions/{session_id}/stream", max_size=None) as websocket, noticed(server) as seen:
        websocket.send(EMPTY_TRACKS[: MEBIBYTE // 2])
        assert "max_live_frames" in str(websocket.recv(timeout=60))
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=60)
    assert seen.stall_s < MAX_STALL_S
    assert seen.grown_bytes < MAX_GROWN_BYTES


def test_a_message_of_a_session_has_few_frames(server: ServerProcess):
    session_id = opened(server)
    frames = f"{server.address}/sessions/{session_id}/frames"
    answer = httpx.post(frames, json={"frame_index": 0, "keypoints": [None] * 257})
    assert answer.status_code == 422
    assert "(setting max_live_frames)" in answer.json()["error"]["message"]
    assert httpx.post(frames, json={"frame_index": 0, "keypoints": [None] * 256}).status_code == 200


def test_what_is_too_large_is_refused_by_the_name_of_its_setting(server: ServerProcess, grpc_port: int):
    session_id = opened(server)
    frames = f"{server.address}/sessions/{session_id}/frames"
    for address, size, setting in (
        (f"{server.address}/lift", 33 * MEBIBYTE, "max_body_bytes"),
        (frames, 3 * MEBIBYTE, "max_live_frames"),
    ):
        answer = httpx.post(address, content=bytes(size), headers={"content-type": "application/json"}, timeout=60)
        assert answer.status_code == 413
        assert f"(setting {setting})" in answer.json()["error"]["message"]
    too_large = bytes(most_bytes(Limits(frames=10_000, tracks=64)) + 1)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        call: Any = channel.stream_stream(f"{SERVICE}Lift")(iter([too_large]))  # type: ignore[arg-type]
        with pytest.raises(grpc.RpcError):
            list(call)
        assert "(setting max_frames)" in call.details()
    with connect(f"{server.address.replace('http', 'ws', 1)}/sessions/{session_id}/stream") as websocket:
        websocket.send(bytes(3 * MEBIBYTE))
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert closed.value.rcvd.reason.endswith("(setting max_live_frames)")
