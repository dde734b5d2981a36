"""What every request gets: a record, an id, a check of its key, and an answer to a bug."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from poselift_service.transport.keys import Keys, new_key

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import (
    JSON_HEADERS,
    app_of,
    last_request_fields,
    lift_body,
)


async def test_an_unexpected_exception_is_answered_with_a_500_and_logged(
    client: httpx.AsyncClient, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(serving.pipeline, "lift", fail)
    answer = await client.post("/lift", json=lift_body(), headers={"x-request-id": "my-own"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert answer.headers["x-request-id"] == "my-own"
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


async def test_the_request_id_is_kept_or_generated(client: httpx.AsyncClient):
    kept = await client.get("/healthz", headers={"x-request-id": "abc-1"})
    generated = await client.get("/healthz")
    odd = await client.get("/healthz", headers={"x-request-id": 'a"b c'})
    assert kept.headers["x-request-id"] == "abc-1"
    assert len(generated.headers["x-request-id"]) == 32
    assert odd.headers["x-request-id"] not in ("", 'a"b c')


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/docs"])
async def test_browsers_are_told_not_to_guess_media_types(client: httpx.AsyncClient, path: str):
    assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


async def test_calls_outside_of_the_public_paths_need_a_key(
    protected: tuple[httpx.AsyncClient, str], caplog: pytest.LogCaptureFixture
):
    client, key = protected
    caplog.set_level(logging.INFO)
    authorized = {"authorization": f"Bearer {key}"}
    assert (await client.post("/lift", json=lift_body(), headers=authorized)).status_code == 200
    line = last_request_fields(caplog)
    assert (line["key"], line["code"]) == ("camera", "ok")
    for method, path in (("POST", "/lift"), ("GET", "/models"), ("GET", "/skeletons"), ("GET", "/nothing")):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
    line = last_request_fields(caplog)
    assert (line["code"], line["status"], "key" in line) == ("unauthenticated", 401, False)
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
    assert key not in caplog.text


async def test_without_a_key_the_body_is_not_read(protected: tuple[httpx.AsyncClient, str]):
    read = []

    async def chunks() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    answer = await protected[0].post("/lift", content=chunks(), headers=JSON_HEADERS)
    assert (answer.status_code, read) == (401, [])


@pytest.mark.parametrize("given", [[], [(b"authorization", b"Bearer wrong")]])
async def test_a_websocket_without_a_key_is_refused(serving: Serving, given: list[tuple[bytes, bytes]]):
    _, stored = new_key("camera")
    app = app_of(serving, keys=Keys([stored]))
    scope = {"type": "websocket", "path": "/sessions/x/stream", "headers": given, "query_string": b""}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({**scope, "extensions": {"websocket.http.response": {}}}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)
    assert json.loads(sent[1]["body"])["error"]["code"] == "unauthenticated"
