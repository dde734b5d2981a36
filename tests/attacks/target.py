"""What an attacker knows of a server, and how it sends to it at a bounded rate."""

import contextlib
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
# Attackers come from another address than the one who wants to be served, as they would.
_ATTACKER = "127.0.0.2"
_TIMEOUT_S = 10.0
_PIECE_BYTES = 1 << 16
# Most bytes per second that one attacker sends, if its attack says nothing else.
RATE_BYTES = 8 << 20
OPENING = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}


@dataclass(frozen=True)
class Target:
    """A server that is to be attacked.

    Attributes:
        seconds: how long an attack takes.
        key: an API key, where the server wants one.
    """

    port: int
    grpc_port: int
    metrics_port: int
    seconds: float
    key: str = ""

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def grpc_address(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    def connect(self, port: int | None = None, *, receive_bytes: int | None = None) -> socket.socket:
        """Open a connection to the HTTP port, or to another one.

        Args:
            receive_bytes: size of the buffer for what is received, of clients that read nothing.
        """
        connection = socket.socket()
        try:
            connection.settimeout(_TIMEOUT_S)
            if receive_bytes is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connection.bind((_ATTACKER, 0))
            connection.connect((HOST, self.port if port is None else port))
        except OSError:
            connection.close()
            raise
        return connection

    def request(self, method: str, path: str, body: bytes, media_type: str, *headers: str) -> tuple[int, bytes]:
        """Ask over a connection of its own; returns the status and the body of the answer."""
        with self.connect() as connection:
            connection.settimeout(60)
            # A server may refuse a request before it has read it, and close.
            with contextlib.suppress(ConnectionError):
                sized = (f"content-length: {len(body)}", "connection: close", *headers)
                connection.sendall(head(method, path, media_type, *sized) + body)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(_PIECE_BYTES):
                    answer += piece
        return status_of(answer), answer.partition(b"\r\n\r\n")[2]

    def open_session(self) -> str:
        """Open a session; returns its ID, or an empty text where the server refuses."""
        status, body = self.request("POST", "/sessions", json.dumps(OPENING).encode(), JSON)
        return str(json.loads(body)["session_id"]) if status == 201 else ""


JSON, PROTOBUF = "application/json", "application/x-protobuf"


def head(method: str, path: str, media_type: str = JSON, *headers: str) -> bytes:
    """The header of a request over HTTP."""
    lines = (f"{method} {path} HTTP/1.1", "host: localhost", f"content-type: {media_type}", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer: bytes) -> int:
    """The status of an answer over HTTP; 0 where there is none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def ticks(seconds: float, per_s: float) -> Iterator[int]:
    """Count at a rate, and not faster, until the time is over."""
    started_s = time.monotonic()
    number = 0
    while (now := time.monotonic()) < started_s + seconds:
        due_s = started_s + number / per_s
        if now < due_s:
            time.sleep(min(due_s - now, 0.05))
            continue
        yield number
        number += 1


def flood(
    connections: list[socket.socket],
    data: bytes,
    seconds: float,
    *,
    rate_bytes: int = RATE_BYTES,
    reads: bool = True,
    repeats: bool = True,
) -> Counter[str]:
    """Send the same data over every connection until the time is over.

    Args:
        rate_bytes: most bytes per second, over all connections.
        reads: whether answers are read and thrown away.
        repeats: whether the data is sent again and again, or once.
    Returns:
        How many bytes were sent and received, and how many connections the server has closed.
    """
    seen: Counter[str] = Counter()
    positions, is_done = dict.fromkeys(connections, 0), len(data) if not repeats else -1
    view, piece = memoryview(data), min(_PIECE_BYTES, max(512, rate_bytes // 200))
    started_s = time.monotonic()
    for connection in connections:
        connection.setblocking(False)
    while positions and (elapsed_s := time.monotonic() - started_s) < seconds:
        unfinished = [connection for connection, position in positions.items() if position != is_done]
        readable, writable, _ = select.select(positions if reads else (), unfinished, (), 0.01)
        for connection in readable:
            _receive(connection, positions, seen)
        for connection in writable:
            if connection in positions and seen["bytes sent"] <= rate_bytes * elapsed_s:
                _send(connection, view, piece, positions, seen)
                if repeats and positions.get(connection) == len(data):
                    positions[connection] = 0
        if seen["bytes sent"] > rate_bytes * elapsed_s:
            time.sleep(0.002)
    return seen


def _receive(connection: socket.socket, positions: dict[socket.socket, int], seen: Counter[str]) -> None:
    try:
        received = connection.recv(_PIECE_BYTES)
    except OSError:
        received = b""
    seen["bytes received"] += len(received)
    if not received:
        seen["closed"] += 1
        del positions[connection]


def _send(
    connection: socket.socket, view: memoryview, piece: int, positions: dict[socket.socket, int], seen: Counter[str]
) -> None:
    start = positions[connection]
    try:
        sent = connection.send(view[start : start + piece])
    except BlockingIOError:
        return
    except OSError:
        seen["closed"] += 1
        del positions[connection]
        return
    seen["bytes sent"] += sent
    positions[connection] = start + sent


@contextlib.contextmanager
def many(number: int, make: Callable[[], Any]) -> Iterator[list[Any]]:
    """Open many connections, those that can be had, and close them at the end."""
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(number):
            with contextlib.suppress(OSError):
                connections.append(opened.enter_context(make()))
        yield connections
