"""Bytes of requests that have not been answered: one budget over all transports, and room again when they are gone."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Data

from poselift.pb import lifter_pb2 as pb
from tests.integration.conftest import MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running
from tests.integration.walking import at_rate, body, keypoints

BODY_BYTES = 2_000_000
BUDGET_BYTES = 3 * BODY_BYTES
# Fits into the budget, but not beside three bodies that lack a tenth.
LARGE_BYTES = BODY_BYTES * 4 // 10
CLIP = body(keypoints(at_rate(50, 3)))
LIFT = "/poselift.v1.LiftingService/Lift"


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("budget") / "log"
    limits = {"max_body_bytes": BODY_BYTES, "max_bytes_in_flight": BUDGET_BYTES, "max_live_frames": 1000}
    with running(models, log, default_model=f"{MODEL}@stable", grpc_port=grpc_port, **limits) as server:
        yield server


@contextmanager
def unfinished_bodies(server: ServerProcess, number: int, sent_bytes: int) -> Iterator[None]:
    """Send bodies over HTTP whose last bytes do not come."""
    host, port = server.address.removeprefix("http://").split(":")
    head = f"POST /lift HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with ExitStack() as connections:
        for _ in range(number):
            connection = connections.enter_context(socket.create_connection((host, int(port)), timeout=ANSWER_S))
            connection.sendall(f"{head}content-length: {BODY_BYTES}\r\n\r\n".encode() + b" " * sent_bytes)
        yield


def lift(server: ServerProcess, padding: int = 0) -> httpx.Response:
    content = httpx.Request("POST", server.address, json=CLIP).content + b" " * padding
    headers = {"content-type": "application/json"}
    return httpx.post(f"{server.address}/lift", content=content, headers=headers, timeout=ANSWER_S)


def exchange(websocket: ClientConnection, fragments: list[bytes]) -> Data:
    websocket.send(fragments)
    return websocket.recv(timeout=ANSWER_S)


def wait_until_there_is_room(server: ServerProcess) -> None:
    eventually(lambda: True if lift(server, LARGE_BYTES).status_code == 200 else None)


def wait_until_full(server: ServerProcess) -> httpx.Response:
    def refused() -> httpx.Response | None:
        answer = lift(server, LARGE_BYTES)
        return answer if answer.status_code != 200 else None

    return eventually(refused)


def test_bodies_that_do_not_fit_are_refused_until_others_are_gone(server: ServerProcess, grpc_port: int):
    wait_until_there_is_room(server)
    with unfinished_bodies(server, 3, BODY_BYTES * 9 // 10):
        answer = wait_until_full(server)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
        assert "setting max_bytes_in_flight" in answer.json()["error"]["message"]
        assert answer.headers["retry-after"] == "1"
        assert lift(server).status_code == 200, "small requests still fit"
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            message = pb.LiftRequest(keypoints=[0.5] * (BODY_BYTES // 5)).SerializeToString()
            call: Any = channel.stream_stream(LIFT)(iter([message]))  # type: ignore[arg-type]
            with pytest.raises(grpc.RpcError):
                list(call)
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(call.trailing_metadata())["poselift-code"] == "overloaded"
    wait_until_there_is_room(server)


def test_messages_that_arrive_slowly_count_in_full(server: ServerProcess, grpc_port: int):
    """The library does not tell how much of them has arrived; others are served meanwhile."""
    is_over = threading.Event()

    def never() -> Iterator[bytes]:
        is_over.wait(ANSWER_S)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        method: Any = channel.stream_stream(LIFT)
        calls = [method(never()) for _ in range(4)]
        ended: queue.Queue[Any] = queue.Queue()
        for call in calls:
            call.add_done_callback(ended.put)
        for _ in range(2):
            refused = ended.get(timeout=ANSWER_S)
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(refused.trailing_metadata())["poselift-code"] == "overloaded"
        assert lift(server, LARGE_BYTES).status_code == 200
        list_models: Any = channel.unary_unary("/poselift.v1.LiftingService/ListModels")
        assert list_models(b"")
        is_over.set()
        for call in calls:
            call.cancel()
    wait_until_there_is_room(server)


def test_messages_over_websocket_count_while_they_arrive(server: ServerProcess):
    wait_until_there_is_room(server)
    opening = {"skeleton": "coco17", "image_size": [640, 480], "fps": 50, "lookahead": 0}
    session_id = httpx.post(f"{server.address}/sessions", json=opening).json()["session_id"]
    path = f"{server.address.replace('http', 'ws')}/sessions/{session_id}/stream"
    fragments = [b" " * (BODY_BYTES * 9 // 10), b" "]
    with ExitStack() as sockets:
        for _ in range(3):
            websocket = sockets.enter_context(connect(path, close_timeout=0.1))
            websocket.socket.sendall(b"\x02\xff" + (BODY_BYTES - 1).to_bytes(8, "big") + bytes(4) + fragments[0])
        assert wait_until_full(server).status_code == 429
        for _ in range(5):
            last = sockets.enter_context(connect(path, close_timeout=0.1))
            with pytest.raises(ConnectionClosed) as closed:
                exchange(last, fragments)
            if closed.value.rcvd is not None:
                break  # else the reason was lost with the connection, which was still sending
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "overloaded (setting max_bytes_in_flight)")
    wait_until_there_is_room(server)
