"""Clients of the stream of a session over WebSocket, which write its frames by hand."""

import contextlib
import json
import socket
import time
from collections import Counter

from poselift.pb import lifter_pb2 as pb
from tests.attacks.kinds.documents import documents
from tests.attacks.target import Target, flood, head, many, ticks

TEXT, BINARY, CLOSE, PING, FINAL, COMPRESSED = 0x01, 0x02, 0x88, 0x89, 0x80, 0x40
_MASKED = 0x80
_MIB = 1 << 20
UPGRADE = (
    "upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13",
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
)  # fmt: skip
FRAME = [[100.0 + joint, 200.0, 0.9] for joint in range(17)]


def frame(first: int, payload: bytes = b"", *, claimed_length: int | None = None) -> bytes:
    """Write a masked frame by RFC 6455; `first` is its first byte."""
    length = len(payload) if claimed_length is None else claimed_length
    if length < 126:
        begin = bytes([first, _MASKED | length])
    elif length < 1 << 16:
        begin = bytes([first, _MASKED | 126]) + length.to_bytes(2)
    else:
        begin = bytes([first, _MASKED | 127]) + length.to_bytes(8)
    return begin + bytes(4) + payload


TINY = {
    "pings": frame(PING) * 50_000,
    "empty fragments": frame(TEXT) + frame(0) * 50_000,
    "fragments of a byte": frame(TEXT, b" ") + frame(0, b" ") * 50_000,
    "empty messages": frame(TEXT | FINAL) * 50_000,
}


def open_websocket(target: Target, session_id: str, *headers: str, receive_bytes: int | None = None) -> socket.socket:
    """Open the stream of a session.

    Raises:
        OSError: the server does not agree.
    """
    connection = target.connect(receive_bytes=receive_bytes)
    try:
        connection.sendall(head("GET", f"/sessions/{session_id}/stream", "text/plain", *UPGRADE, *headers))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            if not (byte := connection.recv(1)):
                raise OSError("the server has closed the connection")
            answer += byte
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise OSError(answer.decode(errors="replace"))
    except OSError:
        connection.close()
        raise
    return connection


def tiny_frames(target: Target, sent: str, *, known: bool, sockets: int = 1) -> Counter[str]:
    """Flood streams with frames of a few bytes, on a session that there is or is not."""
    session_id = target.open_session() if known else "x"
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(sockets, lambda: open_websocket(target, session_id)) as connections:
            seen += flood(connections, TINY[sent], left_s, rate_bytes=2 * _MIB)
        time.sleep(0.05)
    return seen


def cut_messages(target: Target, sent_bytes: int, *, fragments: bool) -> Counter[str]:
    """Begin a large message, and leave in the middle of it."""
    session_id = target.open_session()
    if fragments:
        begun = frame(TEXT) + b"".join(frame(0, bytes(4096)) for _ in range(sent_bytes // 4096))
    else:
        begun = frame(TEXT | FINAL, bytes(sent_bytes), claimed_length=31 * _MIB)
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, 30):
        with contextlib.suppress(OSError), open_websocket(target, session_id) as connection:
            seen += flood([connection], begun, 0.1, rate_bytes=256 * _MIB, repeats=False)
            seen["cut"] += 1
    return seen


def unfinished_messages(target: Target, sockets: int, sent_bytes: int) -> Counter[str]:
    """Begin large messages on many WebSockets, one session each, and neither end them nor leave."""
    begun = frame(BINARY | FINAL, bytes(sent_bytes), claimed_length=sent_bytes + 1)
    sessions = iter([target.open_session() for _ in range(sockets)])
    with many(sockets, lambda: open_websocket(target, next(sessions))) as connections:
        seen: Counter[str] = Counter(opened=len(connections))
        return seen + flood(connections, begun, target.seconds, rate_bytes=256 * _MIB, repeats=False)


def handshakes(target: Target, *, known: bool, headers: tuple[str, ...] = (), per_s: float = 200) -> Counter[str]:
    """Open one stream after the other, and leave."""
    session_id = target.open_session() if known else "x"
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, per_s):
        try:
            open_websocket(target, session_id, *headers).close()
            seen["opened"] += 1
        except OSError:
            seen["refused"] += 1
    return seen


def messages(target: Target, frames: int, *, binary: bool, reads: bool = True, sockets: int = 4) -> Counter[str]:
    """Send good messages of many frames as fast as they are taken, on sessions of one's own."""
    sessions = iter([target.open_session() for _ in range(sockets)])
    sent = frame(BINARY | FINAL, protobuf_frames(frames)) if binary else frame(TEXT | FINAL, json_frames(frames))
    receive_bytes = None if reads else 4096
    opening = lambda: open_websocket(target, next(sessions), receive_bytes=receive_bytes)  # noqa: E731
    with many(sockets, opening) as connections:
        return flood(connections, sent, target.seconds, rate_bytes=16 * _MIB, reads=reads)


def json_frames(frames: int) -> bytes:
    """The first frames of a session in JSON; they can be sent again and again."""
    return json.dumps({"frame_index": 0, "keypoints": [FRAME] * frames}).encode()


def protobuf_frames(frames: int) -> bytes:
    """The same in protobuf."""
    keypoints = [number for joint in FRAME for number in joint]
    made = [pb.Frame(frame_index=index, keypoints=keypoints) for index in range(frames)]
    return pb.LiftStreamRequest(frames=made).SerializeToString()


def broken_frames(target: Target) -> Counter[str]:
    """Send what the protocol forbids, on one WebSocket after the other."""
    broken = [
        frame(TEXT | FINAL, b"\xff" * 500_000),  # not UTF-8
        frame(TEXT | FINAL | COMPRESSED, b"\x00" * 100_000),
        frame(0x8F, b"x"),
        frame(PING, b"x" * 126),
        frame(CLOSE, b"\x00"),
        frame(CLOSE, b"\x0b\xb8" + b"\xff" * 120),
        frame(TEXT | FINAL, b"", claimed_length=1 << 62),
        bytes(500_000),
        b"\xff" * 500_000,
    ]
    session_id = target.open_session()
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, 100):
        with contextlib.suppress(OSError), open_websocket(target, session_id) as connection:
            connection.sendall(broken[number % len(broken)])
            seen[f"answer {connection.recv(1000)[:4].hex()}"] += 1
    return seen


def texts(target: Target, size: int) -> Counter[str]:
    """Send odd documents of about some size as messages of a stream."""
    session_id = target.open_session()
    sent = [frame(TEXT | FINAL, document) for document in documents(size).values()]
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, 20):
        with contextlib.suppress(OSError), open_websocket(target, session_id) as connection:
            connection.sendall(sent[number % len(sent)])
            seen[f"answer {connection.recv(1000)[:1].hex()}"] += 1
    return seen
