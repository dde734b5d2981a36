"""What floods do to a server: how long others wait meanwhile, and how much memory it takes."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.integration.server_process import ANSWER_S, ServerProcess

MASKED = 0x80


@dataclass
class Watch:
    """What was seen of a server during a flood.

    Attributes:
        stall_s: longest wait for an answer to a health check.
        memory_mb: resident memory at the beginning, at its most, and at the end.
    """

    stall_s: float = 0.0
    memory_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        return max(self.memory_mb) - self.memory_mb[0]


@contextlib.contextmanager
def watched(server: ServerProcess) -> Iterator[Watch]:
    """Ask for the health of a server, again and again over one connection, until the context ends."""
    watch, is_over = Watch(memory_mb=[resident_mb(server)]), threading.Event()

    def look(client: httpx.Client) -> None:
        while not is_over.wait(0.02):
            asked_s = time.monotonic()
            assert client.get("/healthz").status_code == 200
            watch.stall_s = max(watch.stall_s, time.monotonic() - asked_s)
            watch.memory_mb.append(resident_mb(server))

    with httpx.Client(base_url=server.address, timeout=ANSWER_S) as client:
        client.get("/healthz")
        thread = threading.Thread(target=look, args=(client,))
        thread.start()
        try:
            yield watch
        finally:
            is_over.set()
            thread.join()


def resident_mb(server: ServerProcess) -> float:
    return _status(server, "VmRSS") / 1024


def threads(server: ServerProcess) -> int:
    return _status(server, "Threads")


def _status(server: ServerProcess, name: str) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+)", text)
    assert found is not None
    return int(found[1])


def connect(server: ServerProcess) -> socket.socket:
    port = int(server.address.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)


def send_for(connection: socket.socket, data: bytes, seconds: float) -> int:
    """Send as much as the server takes in some time; gives the number of bytes that it took."""
    ends_s, sent, view = time.monotonic() + seconds, 0, memoryview(data)
    connection.settimeout(0.05)
    with contextlib.suppress(ConnectionError):
        while sent < len(data) and time.monotonic() < ends_s:
            with contextlib.suppress(TimeoutError):
                sent += connection.send(view[sent : sent + 65536])
    return sent


def websocket(server: ServerProcess, path: str, *headers: str) -> socket.socket:
    """Open a WebSocket, of which frames are written by hand."""
    connection = connect(server)
    lines = (
        f"GET {path} HTTP/1.1", "host: localhost", "upgrade: websocket", "connection: upgrade",
        "sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", *headers,
    )  # fmt: skip
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)  # not more, which may be the first frame
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return connection


def frame(first: int, payload: bytes = b"", *, claimed_length: int | None = None) -> bytes:
    """Write a masked frame by RFC 6455; `first` is its first byte."""
    length = len(payload) if claimed_length is None else claimed_length
    if length < 126:
        head = bytes([first, MASKED | length])
    elif length < 1 << 16:
        head = bytes([first, MASKED | 126]) + length.to_bytes(2)
    else:
        head = bytes([first, MASKED | 127]) + length.to_bytes(8)
    return head + bytes(4) + payload
