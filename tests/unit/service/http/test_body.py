"""Bodies of requests: media types, sizes, and clients that disconnect."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from poselift_service.transport.limits import SizeLimit

from poselift.pb.lifter_pb2 import LiftResponse
from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import (
    JSON_HEADERS,
    MAX_BODY_BYTES,
    app_of,
    lift_body,
)
from tests.unit.service.inference.scripted_engine import settle


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "APPLICATION/JSON"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({**JSON_HEADERS, "content-encoding": "br"}, 415),
    ],
)
async def test_only_json_is_read(client: httpx.AsyncClient, headers: dict[str, str], status: int):
    answer = await client.post("/lift", content=json.dumps(lift_body()), headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/x-protobuf", "application/x-protobuf"),
        ("APPLICATION/X-PROTOBUF ; q=0.9 , text/html", "application/x-protobuf"),
        ("application/json;q=0.5, application/x-protobuf;q=0.8", "application/x-protobuf"),
        ("application/x-protobuf;q=0.5,application/json", "application/json"),
        ("application/x-protobuf;q=0", "application/json"),
        (";;,=,q=1", "application/json"),
    ],
)
async def test_the_client_chooses_the_media_type_of_the_answer(
    client: httpx.AsyncClient, accept: str | None, expected: str
):
    answer = await client.post("/lift", json=lift_body(), headers={} if accept is None else {"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    assert LiftResponse.FromString(answer.content).skeleton == "h36m17" if "protobuf" in expected else answer.json()


@pytest.mark.parametrize("chunked", [False, True], ids=["with content-length", "in chunks"])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, chunked: bool):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * (MAX_BODY_BYTES // 10)

    content = chunks() if chunked else b" " * (MAX_BODY_BYTES + 1)
    answer = await client.post("/lift", content=content, headers=JSON_HEADERS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_client_that_disconnects_cancels_its_work(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    """Sends ASGI messages directly, because no HTTP client can be made to disconnect at a chosen moment."""
    cancelled = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(serving.pipeline, "lift", hang)
    app = app_of(serving, max_body=SizeLimit(10_000))
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": json.dumps(lift_body()).encode(), "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/lift",
        "raw_path": b"/lift",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    handling = asyncio.create_task(app(scope, messages.get, send))
    await settle()
    assert not handling.done()
    messages.put_nowait({"type": "http.disconnect"})
    await handling
    await settle()
    assert cancelled.is_set()
    assert sent == []
