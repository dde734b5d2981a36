"""Calls over HTTP against a scripted server: what is repeated, after which pause, and what is not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from poselift.client.endpoint import Endpoint
from poselift.client.errors import ApiError
from poselift.client.http_calls import HttpCalls

OVERLOADED = json.dumps({"error": {"code": "overloaded", "message": "Later."}})
REFUSED = json.dumps({"error": {"code": "invalid_request", "message": "No.", "path": "fps"}})


@dataclass
class ScriptedServer:
    """Answers one connection after another with what it is given: a whole response, or half of one."""

    script: list[str]
    requests: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.script.pop(0).encode())


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a server whose connections are closed when they are handled; all are, at the end."""
    handled: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.add(asyncio.current_task())
        await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await asyncio.gather(*(task for task in handled if task is not None))


def response(status: int, body: str, *headers: str) -> str:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines) + "\r\n\r\n" + body


@asynccontextmanager
async def calls_to(
    script: list[str], prefix: str = "", key: str | None = None
) -> AsyncIterator[tuple[HttpCalls, ScriptedServer]]:
    scripted = ScriptedServer(script)
    async with serving(scripted.answer) as address:
        calls = HttpCalls(Endpoint(address + prefix, key=key))
        try:
            yield calls, scripted
        finally:
            await calls.close()


async def test_a_hint_is_obeyed():
    async with calls_to([response(429, OVERLOADED, "retry-after: 1"), response(200, "{}")]) as (calls, server):
        started = asyncio.get_running_loop().time()
        assert await calls.call("POST", "/lift", {}, timeout_s=30) == {}
        assert asyncio.get_running_loop().time() - started >= 1
    assert len(server.requests) == 2


async def test_what_a_dying_server_leaves_is_repeated():
    half = response(200, json.dumps({"poses": [1, 2, 3]}))[:-5]
    script = ["", half, response(503, "<html>"), response(200, "{}")]
    async with calls_to(script) as (calls, server):
        assert await calls.call("GET", "/models", timeout_s=30) == {}
    assert len(server.requests) == 4


async def test_a_refusal_is_not_repeated():
    async with calls_to([response(422, REFUSED)]) as (calls, _):
        with pytest.raises(ApiError) as refused:
            await calls.call("POST", "/lift", {}, timeout_s=30)
    assert (refused.value.code, refused.value.message, refused.value.path) == ("invalid_request", "No.", "fps")


async def test_a_hint_beyond_the_deadline_ends_the_call_at_once():
    async with calls_to([response(429, OVERLOADED, "retry-after: 60")]) as (calls, _):
        with pytest.raises(ApiError, match="overloaded") as refused:
            await calls.call("POST", "/lift", {}, timeout_s=30)
    assert refused.value.retry_after_s == 60


async def test_another_service_is_recognised():
    async with calls_to([response(404, "<html>")]) as (calls, _):
        with pytest.raises(ApiError, match="unexpected_answer"):
            await calls.call("POST", "/lift", {}, timeout_s=30)


async def test_the_deadline_ends_a_call_without_an_answer():
    async with serving(lambda reader, writer: reader.read()) as address:
        calls = HttpCalls(Endpoint(address))
        with pytest.raises(ApiError, match="deadline_exceeded"):
            await calls.call("GET", "/models", timeout_s=0.2)
        await calls.close()


async def test_prefix_and_key_are_sent():
    async with calls_to([response(200, "{}")], prefix="/pose/", key="secret") as (calls, server):
        await calls.call("DELETE", "/sessions/1", timeout_s=30, next_frame_index=3)
    (request,) = server.requests
    assert request.startswith("DELETE /pose/sessions/1?next_frame_index=3 HTTP/1.1\r\n")
    assert "authorization: Bearer secret\r\n" in request.replace("Authorization", "authorization")
