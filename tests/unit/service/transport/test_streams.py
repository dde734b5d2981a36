"""How streams over gRPC and over WebSocket begin and end, on the loopback and in front of a scripted engine."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from poselift_service import errors
from poselift_service.pipeline.live import LivePoses
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.unit.service.transport.stream_clients import TIMEOUT_S, TRANSPORTS, StreamClient, StreamEnded
from tests.unit.service.transport.stream_servers import Servers, StartServers, wait_until_admitted


async def request_lines(caplog: pytest.LogCaptureFixture, expected: int) -> list[dict[str, Any]]:
    """What so many streams have left in the log; a line may come after the stream_error answer."""
    async with asyncio.timeout(TIMEOUT_S):
        while (
            len(found := [vars(record)["fields"] for record in caplog.records if "fields" in vars(record)]) < expected
        ):
            await asyncio.sleep(0.01)
    return found


async def stable_value(look: Callable[[], Awaitable[int]], other: StreamClient) -> int:
    """Wait for a number that does not change any more while another stream is served from its first frame on."""
    before, now, frame = -1, await look(), 0
    while now != before:
        for _ in range(100):
            await other.send(frame)
            assert await other.receive() == [frame]
            frame += 1
        before, now = now, await look()
    return now


async def wait_until_stopping(servers: Servers) -> None:
    """Wait until a server that has been told to stop accepts no more connections."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", servers.http_port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_are_answered_in_order_and_leave_one_line(
    start_servers: StartServers, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    servers = await start_servers()
    async with servers.connect(transport, await servers.open()) as client:
        for first in range(0, 20, 2):
            await client.send(first, 2)
        for first in range(0, 20, 2):
            assert await client.receive() == [first, first + 1]
        await client.end()
        assert await client.receive() == []
        assert await client.ended_without_error()
    (line,) = await request_lines(caplog, 1)
    assert (line["transport"], line["code"], line["messages"], line["frames"]) == (transport, "ok", 11, 20)
    assert 0 < line["inference_s"] <= line["total_s"]
    assert len(line["request_id"]) == (32 if transport == "websocket" else len("my-own"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_error_ends_the_stream_and_later_messages_are_dropped(
    start_servers: StartServers, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    servers = await start_servers()
    session_id = await servers.open()
    async with servers.connect(transport, session_id) as client:
        for first in (0, 5, 1):
            await client.send(first)
        assert await client.receive() == [0]
        with pytest.raises(StreamEnded) as ended:
            await client.receive()
    assert ended.value.code == "session_conflict"
    assert (ended.value.path, ended.value.expected_frame_index, ended.value.retry_after_s) == ("frame_index", 1, None)
    assert await servers.next_frame_index(session_id) == 1
    (line,) = await request_lines(caplog, 1)
    assert (line["code"], line["messages"]) == ("session_conflict", 1)
    assert line["status"] in (10, 4409)
    async with servers.connect(transport, session_id) as client:
        await client.send(1)
        assert await client.receive() == [1]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownSession(),
        errors.SessionStoreDown(),
        errors.Overloaded(retry_after_s=2),
        errors.DeadlineExceeded(),
        errors.EngineFailed(),
        errors.InvalidRequest("Unlesbar: ä.", path="keypoints[0]"),
    ],
    ids=lambda error: error.code,
)
async def test_every_error_reaches_the_client(
    start_servers: StartServers, transport: str, monkeypatch: pytest.MonkeyPatch, error: errors.ServiceError
):
    async def fail(*_: object, **__: object) -> None:
        raise error

    servers = await start_servers()
    monkeypatch.setattr(servers.live, "advance", fail)
    async with servers.connect(transport, await servers.open()) as client:
        await client.send(0)
        with pytest.raises(StreamEnded) as ended:
            await client.receive()
    assert (ended.value.code, ended.value.message, ended.value.path) == (error.code, error.message, error.path)
    assert ended.value.retry_after_s == {"overloaded": 2, "session_store_down": 1}.get(error.code)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bug_ends_the_stream_and_is_logged(
    start_servers: StartServers, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    servers = await start_servers()
    monkeypatch.setattr(servers.live, "advance", fail)
    async with servers.connect(transport, await servers.open()) as client:
        await client.send(0)
        with pytest.raises((AssertionError, KeyError, ConnectionClosed)) as failed:
            await client.receive()
    assert "secret" not in str(failed.value)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_idle_stream_ends_and_its_session_remains(start_servers: StartServers, transport: str):
    servers = await start_servers(idle_s=0.3)
    session_id = await servers.open()
    async with servers.connect(transport, session_id) as client:
        await client.send(0)
        assert await client.receive() == [0]
        with pytest.raises(StreamEnded) as ended:
            await client.receive()
    assert ended.value.code == "stream_idle"
    assert await servers.next_frame_index(session_id) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_backpressure_stops_reading_and_leaves_other_streams_alone(start_servers: StartServers, transport: str):
    messages, frames = 1000, 60
    servers = await start_servers()
    session_id = await servers.open()
    async with (
        servers.connect(transport, session_id) as stalled_client,
        servers.connect(transport, await servers.open()) as other,
    ):

        async def send_all() -> None:
            for number in range(messages):
                await stalled_client.send(number * frames, frames)

        sending = asyncio.create_task(send_all())
        taken = await stable_value(lambda: servers.next_frame_index(session_id), other)
        assert taken < messages * frames / 2
        # Whoever begins to read gets everything.
        for number in range(taken // frames + 100):
            assert (await stalled_client.receive())[0] == number * frames
        sending.cancel()
        await stalled_client.disconnect()


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a stream has waited long enough for its client."""
    stalled = asyncio.Event()

    class Noted(errors.StreamIdle):
        def __init__(self, waited_s: float, setting: str) -> None:
            super().__init__(waited_s, setting)
            stalled.set()

    monkeypatch.setattr("poselift_service.transport.streams.StreamIdle", Noted)
    return stalled


async def test_a_stalled_websocket_is_closed_and_frees_its_place(
    start_servers: StartServers, stalled: asyncio.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("poselift_service.http.stream._LAST_MESSAGE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("poselift_service.http.connections.websocket_protocol._CLOSE_TIMEOUT_S", 0.1)
    servers = await start_servers(capacity=1, stall_s=0.2)
    async with servers.connect("websocket", await servers.open()) as stalled_client:

        async def send_all() -> None:
            for number in range(1000):
                await stalled_client.send(number * 60, 60)

        sending = asyncio.create_task(send_all())
        await asyncio.wait_for(stalled.wait(), TIMEOUT_S)
        await wait_until_admitted(servers, "websocket")
        async with asyncio.timeout(TIMEOUT_S):
            while servers.http.server_state.connections:
                await asyncio.sleep(0.01)
        sending.cancel()
        await stalled_client.disconnect()


async def test_a_stalled_grpc_client_counts_as_a_stream_until_it_reads(
    start_servers: StartServers, stalled: asyncio.Event
):
    """Unlike a WebSocket, the call cannot be aborted; not counting it would use memory without a limit."""
    servers = await start_servers(capacity=1, stall_s=0.2)
    async with servers.connect("grpc", await servers.open()) as stalled_client:
        for number in range(20):
            await stalled_client.send(number * 60, 60)
        await asyncio.wait_for(stalled.wait(), TIMEOUT_S)
        async with servers.connect("grpc", await servers.open()) as other:
            with pytest.raises(StreamEnded) as ended:
                await other.receive()
        assert ended.value.code == "overloaded"
        assert (await stream_error(stalled_client)).code == "stream_idle"
        await wait_until_admitted(servers, "grpc")


async def stream_error(client: StreamClient) -> StreamEnded:
    """What a stream ends with after some more answers."""
    while True:
        try:
            await client.receive()
        except StreamEnded as ended:
            return ended


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_disconnects_frees_its_place(
    start_servers: StartServers, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    servers = await start_servers(capacity=1)
    async with servers.connect(transport, await servers.open()) as client:
        await client.send(0)
        assert await client.receive() == [0]
        await client.disconnect()
        # For gRPC's library both may look as if the client had nothing more to say.
        assert (await request_lines(caplog, 1))[0]["code"] in ("client_left", *(["ok"] if transport == "grpc" else ()))
    await wait_until_admitted(servers, transport)


class Gate:
    """Holds up what a session is advanced by, until it is opened."""

    def __init__(self, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        advance = servers.live.advance

        async def wait(*given: Any, **named: Any) -> LivePoses:
            self.reached.set()
            await self.opened.wait()
            return await advance(*given, **named)

        monkeypatch.setattr(servers.live, "advance", wait)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stopping_server_answers_what_it_has_read_and_ends_streams(
    start_servers: StartServers, transport: str, monkeypatch: pytest.MonkeyPatch
):
    servers = await start_servers()
    gate = Gate(servers, monkeypatch)
    session_id = await servers.open()
    async with servers.connect(transport, session_id) as client:
        for first in range(3):
            await client.send(first)
        await asyncio.wait_for(gate.reached.wait(), TIMEOUT_S)
        stopping = asyncio.create_task(servers.stop())
        await wait_until_stopping(servers)
        assert not stopping.done()
        gate.opened.set()
        assert await client.receive() == [0]
        with pytest.raises(StreamEnded) as ended:
            await client.receive()
        assert ended.value.code == "not_ready"
        await asyncio.wait_for(stopping, TIMEOUT_S)
    assert await servers.next_frame_index(session_id) == 1


async def test_idle_streams_do_not_delay_shutdown(start_servers: StartServers):
    servers = await start_servers()
    async with AsyncExitStack() as several:
        talks = [
            await several.enter_async_context(servers.connect(transport, await servers.open()))
            for transport in TRANSPORTS * 2
        ]
        for client in talks[:2]:
            await client.send(0)
            assert await client.receive() == [0]
        stalled_client = await several.enter_async_context(servers.connect("grpc", await servers.open()))
        for number in range(20):
            await stalled_client.send(number * 60, 60)
        stopping = asyncio.create_task(servers.stop())
        for client in talks:
            with pytest.raises(StreamEnded) as ended:
                await client.receive()
            assert ended.value.code == "not_ready"
        await asyncio.wait_for(stopping, TIMEOUT_S)


async def test_a_websocket_to_an_unknown_path_is_refused_and_counted(
    start_servers: StartServers, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    servers = await start_servers()
    with pytest.raises(Exception, match="403"):
        async with connect(f"ws://127.0.0.1:{servers.http_port}/nothing"):
            pass
    assert [(line["code"], line["status"]) for line in await request_lines(caplog, 1)] == [("not_found", 403)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_that_is_too_large_ends_the_stream(
    start_servers: StartServers, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    servers = await start_servers()
    session_id = await servers.open()
    async with servers.connect(transport, session_id) as client:
        await client.send(0, 6000)
        if transport == "grpc":
            with pytest.raises(StreamEnded) as ended:
                await client.receive()
            assert ended.value.code == "body_too_large"
        else:
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
    assert (await request_lines(caplog, 1))[0]["code"] == "body_too_large"
    assert await servers.next_frame_index(session_id) == 0
