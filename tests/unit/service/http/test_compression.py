"""Compressed bodies: what expands beyond the limits, what is no gzip, and which answers are compressed."""

import gzip
import itertools
import json
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from poselift_service.http.compression import GunzipMiddleware, GzipMiddleware
from poselift_service.transport.byte_budget import ByteBudget
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import JSON_HEADERS, MAX_BODY_BYTES, app_of, client_of, lift_body

GZIPPED = {**JSON_HEADERS, "content-encoding": "gzip"}


def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return pieces()


@pytest.mark.parametrize("piece_bytes", [1, 100, 1_000_000])
async def test_a_compressed_request_is_answered_as_a_plain_one(client: httpx.AsyncClient, piece_bytes: int):
    body = json.dumps(lift_body(20)).encode()
    plain = await client.post("/lift", content=body, headers=JSON_HEADERS)
    given = in_pieces(gzip.compress(body), piece_bytes)
    compressed = await client.post("/lift", content=given, headers=GZIPPED)
    assert compressed.status_code == 200, compressed.text
    assert compressed.json()["poses"] == plain.json()["poses"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (json.dumps(lift_body()).encode(), "is not"),
        (gzip.compress(json.dumps(lift_body()).encode())[:-9], "too early"),
        (b"", "too early"),
        (gzip.compress(json.dumps(lift_body()).encode()) + b"more", "goes on"),
        (zlib.compress(json.dumps(lift_body()).encode()), "is not"),
    ],
    ids=["plain", "cut", "empty", "with more behind", "zlib"],
)
@pytest.mark.parametrize("piece_bytes", [3, 1_000_000])
async def test_what_is_no_whole_gzip_is_refused(client: httpx.AsyncClient, body: bytes, says: str, piece_bytes: int):
    answer = await client.post("/lift", content=in_pieces(body, piece_bytes), headers=GZIPPED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert says in answer.json()["error"]["message"]


async def test_only_one_gzip_is_expanded(client: httpx.AsyncClient):
    twice = gzip.compress(gzip.compress(json.dumps(lift_body()).encode()))
    answer = await client.post("/lift", content=twice, headers={**JSON_HEADERS, "content-encoding": "gzip, gzip"})
    assert answer.status_code == 415
    assert "gzip only" in answer.json()["error"]["message"]


def bomb(expanded_bytes: int) -> bytes:
    packer, megabyte = zlib.compressobj(9, wbits=31), b" " * 1_000_000
    parts = [packer.compress(megabyte) for _ in range(expanded_bytes // len(megabyte))]
    return b"".join(parts) + packer.flush()


async def test_a_bomb_is_refused_before_it_is_expanded(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    body = bomb(90_000_000)
    assert len(body) < MAX_BODY_BYTES
    expanded: Iterator[int] = itertools.count()
    decompress = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._gzip = decompress(wbits)

        def __getattr__(self, name: str) -> object:
            next(expanded)
            return getattr(self._gzip, name)

    monkeypatch.setattr("poselift_service.http.compression.zlib.decompressobj", Counting)
    async with client_of(app_of(serving)) as client:
        answer = await client.post("/lift", content=body, headers=GZIPPED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert "max_body_bytes" in answer.json()["error"]["message"]
    assert next(expanded) < 50  # a few calls for each of two or three pieces, not for a thousand


async def test_the_budget_counts_expanded_bytes(serving: Serving):
    budget = ByteBudget(50_000)
    async with client_of(app_of(serving, budget=budget)) as client:
        answer = await client.post("/lift", content=gzip.compress(b" " * 60_000), headers=GZIPPED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert budget.used == 0


@pytest.mark.parametrize(
    ("accept", "frames", "compressed"),
    [("gzip", 30, True), ("br, gzip;q=0.5", 30, True), ("gzip;q=0", 30, False), ("", 30, False), ("gzip", 1, False)],
)
async def test_long_answers_are_compressed_for_who_accepts_it(
    client: httpx.AsyncClient, accept: str, frames: int, compressed: bool
):
    answer = await client.post("/lift", json=lift_body(frames), headers={"accept-encoding": accept})
    assert answer.status_code == 200
    assert ("content-encoding" in answer.headers) is compressed
    assert len(answer.json()["poses"]) == frames
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert int(answer.headers["content-length"]) < (len(answer.content) if compressed else 1 + len(answer.content))


async def test_packed_floats_are_not_compressed(client: httpx.AsyncClient):
    headers = {"accept-encoding": "gzip", "accept": "application/x-protobuf"}
    answer = await client.post("/lift", json=lift_body(50), headers=headers)
    assert len(answer.content) > 8000
    assert "content-encoding" not in answer.headers


def serving_app(respond: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(GzipMiddleware(respond)), base_url="http://test")


async def test_an_answer_in_parts_is_compressed_part_by_part():
    parts = [b"a" * 20_000, b"b" * 10, b"c" * 20_000]

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(iter(parts), media_type="text/plain")(scope, receive, send)

    async with serving_app(respond) as client:
        answer = await client.get("/", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == b"".join(parts)


@pytest.mark.parametrize(("status", "headers"), [(206, {}), (200, {"content-encoding": "br"})])
async def test_a_part_of_a_file_or_a_compressed_one_stays_as_it_is(status: int, headers: dict[str, str]):
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"x" * 9000, status, headers, "text/css")(scope, receive, send)

    async with serving_app(respond) as client, client.stream("GET", "/", headers={"accept-encoding": "gzip"}) as answer:
        assert b"".join([part async for part in answer.aiter_raw()]) == b"x" * 9000


async def test_a_disconnect_after_the_body_reaches_who_waits_for_it():
    seen: list[str] = []

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        assert await Request(scope, receive).body() == b"abc"
        seen.append((await receive())["type"])

    messages: Iterator[dict[str, object]] = iter(
        [{"type": "http.request", "body": gzip.compress(b"abc"), "more_body": False}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(_: object) -> None: ...

    scope = {"type": "http", "headers": [(b"content-encoding", b"GZIP")]}
    await GunzipMiddleware(read)(scope, receive, send)
    assert seen == ["http.disconnect"]
