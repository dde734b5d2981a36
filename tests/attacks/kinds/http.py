"""Clients of HTTP/1.1 that send too much, too slowly, or without an end, and others that do not read."""

import contextlib
import time
from collections import Counter

from tests.attacks.kinds.documents import clip
from tests.attacks.target import JSON, PROTOBUF, Target, flood, head, many, ticks

_MIB = 1 << 20
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
CHUNKED = head("POST", "/lift", JSON, "transfer-encoding: chunked")
PIPELINED = {
    "requests": GET * 20_000,
    "requests of a line": b"GET /x\r\n\r\n" * 20_000,
    "posts": (head("POST", "/lift", JSON, "content-length: 2") + b"{}") * 10_000,
    "chunks of a byte": CHUNKED + b"1\r\n \r\n" * 200_000,
    "empty lines": b"\r\n" * 100_000,
    "garbage": b"\x00\xff" * 100_000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100_000),
}


def pipelined(target: Target, sent: str, connections: int) -> Counter[str]:
    """Send without waiting for answers; connections that the server closes are opened again."""
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(connections, target.connect) as opened:
            seen += flood(opened, PIPELINED[sent], left_s)
        time.sleep(0.05)
    return seen


def unread(target: Target, path: str, connections: int) -> Counter[str]:
    """Ask for answers, pipelined, and read none of them."""
    asked = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() * 1000
    with many(connections, lambda: target.connect(receive_bytes=4096)) as opened:
        return flood(opened, asked, target.seconds, reads=False)


def unread_poses(target: Target, connections: int, frames: int) -> Counter[str]:
    """Ask for the poses of long clips, and do not read them."""
    body = clip(frames)
    asked = head("POST", "/lift", JSON, f"content-length: {len(body)}") + body
    with many(connections, lambda: target.connect(receive_bytes=4096)) as opened:
        return flood(opened, asked, target.seconds, reads=False, rate_bytes=64 * _MIB)


def bodies_in_flight(
    target: Target, paths: tuple[str, ...], number: int, sent_bytes: int, method: str = "POST", media_type: str = JSON
) -> Counter[str]:
    """Send large bodies whose last bytes do not come."""
    seen: Counter[str] = Counter()
    with many(number, target.connect) as opened:
        for index, connection in enumerate(opened):
            with contextlib.suppress(OSError):
                length = f"content-length: {sent_bytes + 1}"
                connection.sendall(head(method, paths[index % len(paths)], media_type, length))
        return seen + flood(opened, bytes(sent_bytes), target.seconds, rate_bytes=256 * _MIB, repeats=False)


def whole_bodies(target: Target, body: bytes, connections: int, media_type: str, *headers: str) -> Counter[str]:
    """Send whole requests, on many connections at a time, as fast as they are answered."""
    asked = head("POST", "/lift", media_type, f"content-length: {len(body)}", *headers) + body
    with many(connections, target.connect) as opened:
        return flood(opened, asked, target.seconds, rate_bytes=64 * _MIB)


def dribbled(target: Target, begun: bytes, drop: bytes, connections: int) -> Counter[str]:
    """Send a few bytes now and then on many connections, without an end."""
    seen: Counter[str] = Counter()
    with many(connections, target.connect) as opened:
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.sendall(begun)
        for _ in ticks(target.seconds, 10):
            for connection in opened:
                try:
                    connection.sendall(drop)
                    seen["drops"] += 1
                except OSError:
                    seen["closed"] += 1
    return seen


def dribbled_bodies(target: Target) -> Counter[str]:
    """Dribble bodies with a length."""
    return dribbled(target, head("POST", "/lift", JSON, "content-length: 1000000"), b" ", 300)


def dribbled_chunks(target: Target) -> Counter[str]:
    """Dribble bodies in chunks of a byte."""
    return dribbled(target, CHUNKED, b"1\r\n \r\n", 300)


def dribbled_headers(target: Target) -> Counter[str]:
    """Dribble headers."""
    return dribbled(target, b"GET /models HTTP/1.1\r\n", b"a: b\r\n", 300)


def large_headers(target: Target, size: int, *, lines: bool) -> Counter[str]:
    """Send headers of a size, in one line or in many."""
    filler = b"a:b\r\n" * (size // 5) if lines else b"a: " + b"b" * size + b"\r\n"
    asked = b"GET /models HTTP/1.1\r\nhost: localhost\r\n" + filler + b"\r\n"
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(10, target.connect) as opened:
            seen += flood(opened, asked, left_s)
        time.sleep(0.05)
    return seen


def idle(target: Target, connections: int, begun: bytes, *, metrics: bool = False) -> Counter[str]:
    """Open many connections, begin a request or none, and wait; open those again that the server closes."""
    port = target.metrics_port if metrics else None
    seen: Counter[str] = Counter()
    with many(connections, lambda: target.connect(port)) as opened:
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.sendall(begun)
        seen["opened"] = len(opened)
        time.sleep(target.seconds)
    return seen


def churn(target: Target, begun: bytes = b"", *, port: str = "port") -> Counter[str]:
    """Open connections and close them at once."""
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, 500):
        with contextlib.suppress(OSError), target.connect(getattr(target, port)) as connection:
            connection.sendall(begun)
            seen["opened"] += 1
    return seen


def requests(target: Target, asked: bytes, *, per_s: float = 300, connections: int = 10) -> Counter[str]:
    """Ask small things at a rate, over connections that are kept while the server keeps them."""
    seen: Counter[str] = Counter()
    rate = round(per_s * len(asked))
    until_s = time.monotonic() + target.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        with many(connections, target.connect) as opened:
            seen += flood(opened, asked, left_s, rate_bytes=rate)
        time.sleep(0.02)
    return seen


def foreign_names(target: Target) -> Counter[str]:
    """Ask by the name of another site."""
    return requests(target, head("GET", "/models").replace(b"localhost", b"evil.example"))


def foreign_origins(target: Target) -> Counter[str]:
    """Ask as a page of another site does, a preflight included."""
    preflight = head("OPTIONS", "/lift", JSON, "origin: https://evil.example", "access-control-request-method: POST")
    return requests(target, preflight + head("GET", "/models", JSON, "origin: https://evil.example"))


def encodings(target: Target) -> Counter[str]:
    """Send bodies that are said to be compressed, or are in other ways not what they say."""
    seen: Counter[str] = Counter()
    body = bytes(_MIB)
    headers = [
        ("content-encoding: gzip",),
        ("content-encoding: identity", "content-encoding: gzip"),
        ("content-encoding: " + "gzip," * 3000,),
        ("transfer-encoding: gzip, chunked",),
        ("content-length: 5",),
        ("expect: 100-continue",),
        ("content-type: " + ";" * 10_000,),
        ("accept: " + "a/b;q=0.1," * 1500,),
    ]
    for number in ticks(target.seconds, 40):
        with contextlib.suppress(OSError):
            status, _ = target.request("POST", "/lift", body, JSON, *headers[number % len(headers)])
            seen[str(status)] += 1
    return seen


def guessed_keys(target: Target) -> Counter[str]:
    """Guess API keys, with bodies that are not to be read."""
    guess = head("POST", "/lift", PROTOBUF, "authorization: Bearer pk-0123456789abcdef", "content-length: 2") + b"{}"
    return requests(target, guess, per_s=500)
