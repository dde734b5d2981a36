"""Clients that violate HTTP or HTTP/2, or exhaust the server: disconnected, without effect on other clients."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running

HEADER_BYTES = 4096
CONNECTIONS = 8
STALL_S = 1.0
POST = b"POST /lift HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Strict:
    """A server with low limits, and its ports."""

    process: ServerProcess
    port: int
    grpc_port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S)

    def is_serving(self) -> bool:
        """Whether both transports respond; they may have to close connections first."""
        eventually(lambda: self._answers() or None)
        return True

    def _answers(self) -> bool:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
                stub: Any = LiftingServiceStub(channel)
                models = stub.ListModels(pb.ListModelsRequest(), timeout=ANSWER_S).models
            # Not a probe, for which connections are kept in reserve.
            return bool(models) and httpx.get(f"{self.process.address}/models").status_code == 200
        except (grpc.RpcError, httpx.TransportError):
            return False


@pytest.fixture(scope="module")
def strict(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    port = free_port()
    with running(
        models,
        tmp_path_factory.mktemp("strict") / "log",
        grpc_port=port,
        max_header_bytes=HEADER_BYTES,
        max_connections=CONNECTIONS,
        header_timeout_s=2,
        stall_timeout_s=STALL_S,
    ) as server:
        yield Strict(server, int(server.address.rpartition(":")[2]), port)


@pytest.fixture(autouse=True)
def _still_serving(strict: Strict) -> Iterator[None]:
    yield
    assert strict.is_serving()


def receive_all(connection: socket.socket) -> bytes:
    """Receive until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(1 << 16):
            received += chunk
    return received


def refusal(responses: bytes) -> tuple[int, str]:
    """Give the status and the code of the last response."""
    head, _, body = responses[responses.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


BROKEN = {
    "noise": bytes(range(256)),
    "TLS": bytes.fromhex("160301020001000001fc0303"),
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without colon": b"GET /healthz HTTP/1.1\r\nhost x\r\n\r\n",
    "a header with a NUL": b"GET /healthz HTTP/1.1\r\nhost: \0\r\n\r\n",
    "a path that is no path": b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a path of other bytes": b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a folded line in the header": b"GET /healthz HTTP/1.1\r\n folded\r\nhost: localhost\r\n\r\n",
    "noise behind a good request": GET + b"\x00\x01\x02\r\n\r\n",
    "a negative length": POST + b"content-length: -1\r\n\r\n",
    "a signed length": POST + b"content-length: +2\r\n\r\n{}",
    "a length that is no number": POST + b"content-length: two\r\n\r\n{}",
    "a length beyond 64 bits": POST + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    "a length and chunks": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "an unknown encoding": POST + b"transfer-encoding: gzip\r\n\r\n{}",
    "a chunk without a size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk whose size is no number": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk of negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of a size beyond 64 bits": CHUNKED + b"F" * 17 + b"\r\n{}",
    "a chunk longer than it says": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "more than the length says": POST + b"content-length: 1\r\n\r\n{}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_http_is_refused(strict: Strict, name: str):
    with strict.connect() as connection:
        connection.sendall(BROKEN[name])
        assert refusal(receive_all(connection)) == (400, "invalid_request")


def test_a_rejection_without_a_request_is_logged(strict: Strict):
    with strict.connect() as connection:
        connection.sendall(b"\0\0\0\r\n\r\n")
        receive_all(connection)
    line = eventually(lambda: next((line for line in strict.process.log_lines() if line["message"] == "-"), None))
    assert (line["transport"], line["code"], line["status"]) == ("http", "invalid_request", 400)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * HEADER_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * HEADER_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * HEADER_BYTES + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * HEADER_BYTES,
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * HEADER_BYTES,
        b"G" * 10 + b"a" * 100 * HEADER_BYTES,
        CHUNKED + b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 50 * HEADER_BYTES,
        CHUNKED + b"2\r\n{}\r\n0\r\na: " + b"b" * 100 * HEADER_BYTES,
    ],
    ids=["a path", "a value", "many", "many without end", "a value without end", "a word", "trailers", "a trailer"],
)
def test_the_size_of_a_header_is_limited(strict: Strict, sent: bytes):
    with strict.connect() as connection:
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(sent), 1000):
                connection.sendall(sent[start : start + 1000])
        received = receive_all(connection)
        assert not received or refusal(received) in ((431, "header_too_large"), (400, "invalid_request"))


def test_the_number_of_header_fields_is_limited(strict: Strict):
    for fields, status in ((120, 200), (130, 431)):
        with strict.connect() as connection:
            asked = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + b"a:b\r\n" * fields
            connection.sendall(asked + b"\r\n")
            received = receive_all(connection)
        assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"128 fields" in received
    assert b"setting max_header_bytes" in received


def test_a_header_below_the_limit_is_read(strict: Strict):
    value = "b" * (HEADER_BYTES - 500)
    assert httpx.get(f"{strict.process.address}/healthz", headers={"a": value}).status_code == 200


def test_pipelined_requests_are_answered_in_order(strict: Strict):
    with strict.connect() as connection:
        ask = b"GET /%s HTTP/1.1\r\nhost: localhost\r\n"
        connection.sendall(
            ask % b"healthz" + b"\r\n" + ask % b"no" + b"\r\n" + ask % b"readyz" + b"connection: close\r\n\r\n"
        )
        answers = receive_all(connection)
    assert [int(answer.split()[0]) for answer in answers.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


def test_a_client_that_leaves_during_its_body_has_a_code_of_its_own(strict: Strict):
    with strict.connect() as connection:
        connection.sendall(POST + b"x-request-id: half\r\ncontent-length: 100\r\n\r\n{")
    assert strict.process.request_line("half")["code"] == "client_left"


def send_until_closed(send: Callable[[], object]) -> None:
    """Send repeatedly until that fails because the server has closed the connection."""

    def failed() -> bool | None:
        try:
            send()
        except ConnectionError:
            return True
        return None

    eventually(failed)


def test_a_body_that_continues_after_its_response_is_aborted(strict: Strict):
    with strict.connect() as connection:
        connection.sendall(b"POST /lift HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 415 ")
        send_until_closed(lambda: connection.sendall(b"x"))


def request_large_responses(connection: socket.socket, number: int) -> None:
    """Request more than the buffers between the server and a client that does not read can hold."""
    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * number)


def test_clients_that_do_not_read_cannot_keep_their_connections(strict: Strict):
    with contextlib.ExitStack() as opened:
        for _ in range(CONNECTIONS):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(ANSWER_S)
            connection.connect(("127.0.0.1", strict.port))
            request_large_responses(connection, 150)
        # They have taken all connections there are.
        assert strict.is_serving()


def test_a_slow_reader_gets_every_response(strict: Strict):
    asked = 150
    with strict.connect() as connection:
        request_large_responses(connection, asked)
        answers = 0
        tail = b""
        while answers < asked:
            chunk = connection.recv(1 << 18)
            assert chunk, "the server has closed the connection"
            answers += (tail + chunk).count(b"HTTP/1.1 200 OK")
            tail = (tail + chunk)[-14:]
            time.sleep(0.02)


def test_the_number_of_connections_is_limited(strict: Strict):
    with contextlib.ExitStack() as opened:
        # Connections of earlier tests may still be open.
        held = [opened.enter_context(strict.connect()) for _ in range(CONNECTIONS + 1)]
        assert refusal(receive_all(held[-1])) == (429, "overloaded")
        held[0].sendall(GET)
        assert held[0].recv(1000).startswith(b"HTTP/1.1 200 ")


def test_the_number_of_grpc_connections_is_limited(strict: Strict):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    with contextlib.ExitStack() as opened:
        address = ("127.0.0.1", strict.grpc_port)
        held = [opened.enter_context(socket.create_connection(address, ANSWER_S)) for _ in range(CONNECTIONS + 1)]
        assert receive_all(held[-1]) == b""
        held[0].sendall(preface)
        assert held[0].recv(1000) != b""


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n\r\n", bytes(range(256)), GET])
def test_what_is_not_http_2_is_disconnected(strict: Strict, sent: bytes):
    with socket.create_connection(("127.0.0.1", strict.grpc_port), timeout=ANSWER_S) as connection:
        connection.sendall(sent)
        receive_all(connection)


def test_a_client_that_only_pings_is_disconnected(strict: Strict):
    ping = bytes.fromhex("0000080600000000000000000000000000")
    enhance_your_calm = bytes.fromhex("0000000b") + b"too_many_pings"
    with socket.create_connection(("127.0.0.1", strict.grpc_port), timeout=ANSWER_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") + 10 * ping)
        assert enhance_your_calm in receive_all(connection)


def test_the_size_of_metadata_is_limited(strict: Strict):
    with grpc.insecure_channel(f"127.0.0.1:{strict.grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListModels(pb.ListModelsRequest(), metadata=(("a", "b" * HEADER_BYTES),), timeout=ANSWER_S)
        call: Any = refused.value
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.ListModels(pb.ListModelsRequest(), timeout=ANSWER_S).models


def frame(first: int, payload: bytes = b"", *, masked: bool = True, claimed_length: int | None = None) -> bytes:
    """Write a frame of a WebSocket by RFC 6455; `first` is its first byte."""
    length = len(payload) if claimed_length is None else claimed_length
    mask = 0x80 if masked else 0
    long = bytes([126 | mask]) + length.to_bytes(2) if length < 1 << 16 else bytes([127 | mask]) + length.to_bytes(8)
    return bytes([first]) + (bytes([length | mask]) if length < 126 else long) + (bytes(4) if masked else b"") + payload


END, TEXT, PING, CLOSE = 0x80, 0x81, 0x89, 0x88
BROKEN_FRAMES = {
    "no mask": frame(TEXT, b"{}", masked=False),
    "a reserved bit": frame(TEXT | 0x40, b"{}"),
    "an unknown kind": frame(0x83, b"{}"),
    "a ping that is too long": frame(PING, bytes(126)),
    "a ping in parts": frame(PING & 0x0F, b"{}"),
    "an end of nothing": frame(END, b"{}"),
    "text that is none": frame(TEXT, b"\xff\xfe"),
    "a close with half a code": frame(CLOSE, b"\3"),
    "a close with a code that is none": frame(CLOSE, b"\0\1"),
    "a length beyond memory": frame(TEXT, claimed_length=2**63 - 1),
    "a negative length": frame(TEXT, claimed_length=2**64 - 1),
    "HTTP": GET,
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
def test_an_invalid_frame_closes_a_websocket(strict: Strict, name: str):
    opening = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
    session_id = httpx.post(f"{strict.process.address}/sessions", json=opening).json()["session_id"]
    with strict.connect() as connection:
        connection.sendall(
            f"GET /sessions/{session_id}/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
            "connection: upgrade\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
        connection.sendall(BROKEN_FRAMES[name])
        received = receive_all(connection)
    assert received[0] == CLOSE
    assert int.from_bytes(received[2:4]) in (1002, 1007, 1009)


@pytest.mark.parametrize(
    "changed",
    [
        ("version: 13", "version: 12"),
        ("sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "sec-websocket-key: short"),
        ("sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "a: b"),
        ("GET", "POST"),
        ("upgrade: websocket", "upgrade: h2c"),
    ],
)
def test_an_invalid_handshake_opens_no_websocket(strict: Strict, changed: tuple[str, str]):
    opening = (
        "GET /sessions/x/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with strict.connect() as connection:
        connection.sendall(opening.replace(*changed).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 4")
