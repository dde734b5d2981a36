"""Streams over gRPC and over WebSocket, on the loopback and in front of a scripted engine: how they begin and end."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import pytest
import uvicorn
from poselift_service import errors
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.grpc.server import GrpcServer
from poselift_service.grpc.sessions import session_methods
from poselift_service.http.app import create_app
from poselift_service.http.stream import add_stream
from poselift_service.http.websocket_protocol import GracefulWebSocketProtocol
from poselift_service.pipeline.live import LiveLifter, LivePoses
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Opening
from poselift_service.sessions.sessions import Sessions
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.streams import Streams
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving

PATIENCE_S = 60.0
MAX_MESSAGE_BYTES = 1_000_000
OPENING = Opening(skeleton("h36m17"), 200, 100, fps=50, lookahead=0)
TRANSPORTS = ("grpc", "websocket")
# By code: the gRPC status, and what a WebSocket is closed with.
ENDS = {
    "invalid_request": ("INVALID_ARGUMENT", 4422),
    "unknown_session": ("NOT_FOUND", 4404),
    "session_conflict": ("ABORTED", 4409),
    "session_store_down": ("UNAVAILABLE", 4503),
    "overloaded": ("RESOURCE_EXHAUSTED", 4429),
    "stream_idle": ("DEADLINE_EXCEEDED", 4408),
    "deadline_exceeded": ("DEADLINE_EXCEEDED", 4504),
    "body_too_large": ("RESOURCE_EXHAUSTED", 1009),
    "not_ready": ("UNAVAILABLE", 1012),
    "engine_failed": ("INTERNAL", 4500),
}


@dataclass(frozen=True)
class Ended(Exception):
    """What a stream ended with; the status has been checked against the code."""

    code: str
    message: str
    path: str | None
    expected_frame_index: int | None
    retry_after_s: float | None


class Talk(Protocol):
    """The client's end of a stream."""

    async def send(self, first: int, count: int = 1) -> None:
        """Send frames from an index on."""

    async def end(self) -> None:
        """Say that no more will follow."""

    async def receive(self) -> list[int]:
        """The frames that the next answer brings poses of; raises Ended."""

    async def is_over(self) -> bool:
        """Wait for the end of a stream that ends without an error."""

    async def leave(self) -> None:
        """Hang up."""


def message(first: int, count: int) -> pb.LiftStreamRequest:
    frames = [pb.Frame(frame_index=index, keypoints=[1.0] * 51) for index in range(first, first + count)]
    return pb.LiftStreamRequest(frames=frames)


class GrpcTalk:
    def __init__(self, call: Any, session_id: str) -> None:
        self._call = call
        self._session_id = session_id

    async def send(self, first: int, count: int = 1) -> None:
        sent = message(first, count)
        sent.session_id = self._session_id
        await self._call.write(sent)

    async def end(self) -> None:
        await self._call.write(pb.LiftStreamRequest(session_id=self._session_id, end=True))

    async def receive(self) -> list[int]:
        try:
            answer = await asyncio.wait_for(self._call.read(), PATIENCE_S)
        except grpc.aio.AioRpcError as failed:
            raise self._ended(failed) from None
        assert answer is not grpc.aio.EOF
        return [frame.frame_index for frame in answer.frames]

    async def is_over(self) -> bool:
        return bool(await self._call.read() is grpc.aio.EOF and await self._call.code() is grpc.StatusCode.OK)

    async def leave(self) -> None:
        self._call.cancel()

    def _ended(self, failed: grpc.aio.AioRpcError) -> Ended:
        told = {name: str(value) for name, value in failed.trailing_metadata() or ()}
        assert failed.code().name == ENDS[told["poselift-code"]][0]
        expected, hint = told.get("poselift-expected-frame-index"), told.get("grpc-retry-pushback-ms")
        return Ended(
            told["poselift-code"],
            str(failed.details()),
            told.get("poselift-path"),
            None if expected is None else int(expected),
            None if hint is None else int(hint) / 1000,
        )


class WebSocketTalk:
    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    async def send(self, first: int, count: int = 1) -> None:
        keypoints = [[[1.0, 1.0, 1.0]] * 17] * count
        await self._websocket.send(json.dumps({"frame_index": first, "keypoints": keypoints}))

    async def end(self) -> None:
        await self._websocket.send('{"end": true}')

    async def receive(self) -> list[int]:
        answer = json.loads(await asyncio.wait_for(self._websocket.recv(), PATIENCE_S))
        if "error" in answer:
            raise await self._ended(answer["error"])
        return [frame["frame_index"] for frame in answer["frames"]]

    async def is_over(self) -> bool:
        with pytest.raises(ConnectionClosed) as closed:
            await self._websocket.recv()
        return closed.value.rcvd is not None and closed.value.rcvd.code == 1000

    async def leave(self) -> None:
        self._websocket.transport.abort()

    async def _ended(self, error: Any) -> Ended:
        with pytest.raises(ConnectionClosed) as closed:
            await self._websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == ENDS[error["code"]][1]
        assert closed.value.rcvd.reason == error["code"]
        named = ("code", "message", "path", "expected_frame_index", "retry_after_s")
        return Ended(*(error.get(name) for name in named))


class Quiet(uvicorn.Server):
    """Without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass(frozen=True)
class Started:
    """Both servers over one set of sessions."""

    live: LiveLifter
    streams: Streams
    metrics: Metrics
    grpc: GrpcServer
    http: uvicorn.Server
    http_task: "asyncio.Task[None]"
    grpc_port: int
    http_port: int

    async def open(self) -> str:
        return (await self.live.open(OPENING, None)).session_id

    async def next_frame_index(self, session_id: str) -> int:
        return (await self.live.read(session_id)).next_frame_index

    @asynccontextmanager
    async def talk(self, transport: str, session_id: str) -> AsyncIterator[Talk]:
        if transport == "websocket":
            address = f"ws://127.0.0.1:{self.http_port}/sessions/{session_id}/stream"
            async with connect(address, open_timeout=PATIENCE_S, close_timeout=0.1, max_queue=1) as websocket:
                yield WebSocketTalk(websocket)
            return
        # Without the probe, the client takes no more than 64 KiB that nobody reads.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}", options) as channel:
            stub: Any = LiftingServiceStub(channel)
            call = stub.LiftStream(metadata=(("x-request-id", "my-own"),))
            yield GrpcTalk(call, session_id)
            call.cancel()

    async def stop(self) -> None:
        """As the server does it, with more grace than a test waits."""
        self.streams.stop()
        self.http.should_exit = True
        await asyncio.gather(self.grpc.stop(10 * PATIENCE_S), self.http_task)


Starting = Callable[..., Awaitable[Started]]


@pytest.fixture
async def start(serving: Serving) -> AsyncIterator[Starting]:
    """Starts the servers with limits of choice."""
    async with AsyncExitStack() as ending:

        async def start(*, capacity: int = 10, idle_s: float = 600, stall_s: float = 600) -> Started:
            metrics = Metrics()
            live = LiveLifter(
                serving.pipeline, Sessions(MemoryStore(ttl_s=600), ttl_s=600, capacity=10), max_frames=1000
            )
            streams = Streams(capacity=capacity, idle_s=idle_s, stall_s=stall_s)
            server = GrpcServer(
                session_methods(live, streams, metrics=metrics, deadline_s=PATIENCE_S),
                metrics=metrics,
                max_message_bytes=MAX_MESSAGE_BYTES,
                deadline_s=PATIENCE_S,
            )
            grpc_port = server.listen("127.0.0.1", 0)
            await server.start()
            json_reader = JsonReader(serving.pipeline.limits)
            app = create_app(
                serving.pipeline,
                json_reader,
                metrics=metrics,
                is_ready=lambda: True,
                max_body_bytes=MAX_MESSAGE_BYTES,
                deadline_s=PATIENCE_S,
                version="0",
            )
            add_stream(app, live, streams, json_reader, metrics=metrics, deadline_s=PATIENCE_S)
            listener = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
            config = uvicorn.Config(
                app,
                ws=GracefulWebSocketProtocol,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
            )
            http = Quiet(config)
            http_task = asyncio.create_task(http.serve(sockets=[listener]))
            port = listener.getsockname()[1]
            started = Started(live, streams, metrics, server, http, http_task, grpc_port, port)
            ending.push_async_callback(started.stop)
            return started

        yield start


async def lines(caplog: pytest.LogCaptureFixture, expected: int) -> list[dict[str, Any]]:
    """What so many streams have left in the log; a line may come after the last answer."""
    async with asyncio.timeout(PATIENCE_S):
        while (
            len(found := [vars(record)["fields"] for record in caplog.records if "fields" in vars(record)]) < expected
        ):
            await asyncio.sleep(0.01)
    return found


async def settled(look: Callable[[], Awaitable[int]], other: Talk) -> int:
    """Wait for a number that does not change any more while another stream is served from its first frame on."""
    before, now, frame = -1, await look(), 0
    while now != before:
        for _ in range(100):
            await other.send(frame)
            assert await other.receive() == [frame]
            frame += 1
        before, now = now, await look()
    return now


async def wait_until_stopping(started: Started) -> None:
    """Wait until a server that has been told to stop accepts no more connections."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", started.http_port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_are_answered_in_order_and_leave_one_line(
    start: Starting, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    started = await start()
    async with started.talk(transport, await started.open()) as talk:
        for first in range(0, 20, 2):
            await talk.send(first, 2)
        for first in range(0, 20, 2):
            assert await talk.receive() == [first, first + 1]
        await talk.end()
        assert await talk.receive() == []
        assert await talk.is_over()
    (line,) = await lines(caplog, 1)
    assert (line["transport"], line["code"], line["messages"], line["frames"]) == (transport, "ok", 11, 20)
    assert 0 < line["inference_s"] <= line["total_s"]
    assert len(line["request_id"]) == (32 if transport == "websocket" else len("my-own"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_error_ends_the_stream_and_what_was_sent_behind_it_is_not_taken(
    start: Starting, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    started = await start()
    session_id = await started.open()
    async with started.talk(transport, session_id) as talk:
        for first in (0, 5, 1):
            await talk.send(first)
        assert await talk.receive() == [0]
        with pytest.raises(Ended) as ended:
            await talk.receive()
    assert ended.value.code == "session_conflict"
    assert (ended.value.path, ended.value.expected_frame_index, ended.value.retry_after_s) == ("frame_index", 1, None)
    assert await started.next_frame_index(session_id) == 1
    (line,) = await lines(caplog, 1)
    assert (line["code"], line["messages"]) == ("session_conflict", 1)
    assert line["status"] in (10, 4409)
    async with started.talk(transport, session_id) as talk:
        await talk.send(1)
        assert await talk.receive() == [1]


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
async def test_every_error_is_told(
    start: Starting, transport: str, monkeypatch: pytest.MonkeyPatch, error: errors.ServiceError
):
    async def fail(*_: object, **__: object) -> None:
        raise error

    started = await start()
    monkeypatch.setattr(started.live, "advance", fail)
    async with started.talk(transport, await started.open()) as talk:
        await talk.send(0)
        with pytest.raises(Ended) as ended:
            await talk.receive()
    assert (ended.value.code, ended.value.message, ended.value.path) == (error.code, error.message, error.path)
    assert ended.value.retry_after_s == {"overloaded": 2, "session_store_down": 1}.get(error.code)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bug_ends_the_stream_and_is_logged(
    start: Starting, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    started = await start()
    monkeypatch.setattr(started.live, "advance", fail)
    async with started.talk(transport, await started.open()) as talk:
        await talk.send(0)
        with pytest.raises((AssertionError, KeyError, ConnectionClosed)) as failed:
            await talk.receive()
    assert "secret" not in str(failed.value)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_there_are_only_so_many_streams(start: Starting, transport: str):
    started = await start(capacity=2)
    async with AsyncExitStack() as both:
        talks = [await both.enter_async_context(started.talk(other, await started.open())) for other in TRANSPORTS]
        for talk in talks:
            await talk.send(0)
            assert await talk.receive() == [0]
        async with started.talk(transport, await started.open()) as refused:
            with pytest.raises(Ended) as ended:
                await refused.receive()
        assert (ended.value.code, ended.value.retry_after_s) == ("overloaded", 1)
        await talks[0].end()
        assert await talks[0].receive() == []
        assert await talks[0].is_over()
        await admitted(started, transport)


async def admitted(started: Started, transport: str) -> None:
    """Wait until there is room for another stream."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with started.talk(transport, await started.open()) as talk:
                with suppress(Ended):
                    await talk.send(0)
                    assert await talk.receive() == [0]
                    return


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stream_that_says_nothing_ends_and_its_session_stays(start: Starting, transport: str):
    started = await start(idle_s=0.3)
    session_id = await started.open()
    async with started.talk(transport, session_id) as talk:
        await talk.send(0)
        assert await talk.receive() == [0]
        with pytest.raises(Ended) as ended:
            await talk.receive()
    assert ended.value.code == "stream_idle"
    assert await started.next_frame_index(session_id) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_does_not_read_is_not_read_and_others_are_served(start: Starting, transport: str):
    messages, frames = 1000, 60
    started = await start()
    session_id = await started.open()
    async with started.talk(transport, session_id) as deaf, started.talk(transport, await started.open()) as other:

        async def send_all() -> None:
            for number in range(messages):
                await deaf.send(number * frames, frames)

        sending = asyncio.create_task(send_all())
        taken = await settled(lambda: started.next_frame_index(session_id), other)
        assert taken < messages * frames / 2
        # Whoever begins to read gets everything.
        for number in range(taken // frames + 100):
            assert (await deaf.receive())[0] == number * frames
        sending.cancel()
        await deaf.leave()


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a stream has waited long enough for its client."""
    stalled = asyncio.Event()

    class Noted(errors.StreamIdle):
        def __init__(self, waited_s: float) -> None:
            super().__init__(waited_s)
            stalled.set()

    monkeypatch.setattr("poselift_service.transport.streams.StreamIdle", Noted)
    return stalled


async def test_a_websocket_that_does_not_read_loses_its_place_and_its_connection(
    start: Starting, stalled: asyncio.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("poselift_service.http.stream._LAST_MESSAGE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("poselift_service.http.websocket_protocol._CLOSE_TIMEOUT_S", 0.1)
    started = await start(capacity=1, stall_s=0.2)
    async with started.talk("websocket", await started.open()) as deaf:

        async def send_all() -> None:
            for number in range(1000):
                await deaf.send(number * 60, 60)

        sending = asyncio.create_task(send_all())
        await asyncio.wait_for(stalled.wait(), PATIENCE_S)
        await admitted(started, "websocket")
        async with asyncio.timeout(PATIENCE_S):
            while started.http.server_state.connections:
                await asyncio.sleep(0.01)
        sending.cancel()
        await deaf.leave()


async def test_a_call_that_does_not_read_keeps_its_place_until_it_reads(start: Starting, stalled: asyncio.Event):
    """Unlike a WebSocket it cannot be hung up on, and must not cost memory without being counted."""
    started = await start(capacity=1, stall_s=0.2)
    async with started.talk("grpc", await started.open()) as deaf:
        for number in range(20):
            await deaf.send(number * 60, 60)
        await asyncio.wait_for(stalled.wait(), PATIENCE_S)
        async with started.talk("grpc", await started.open()) as other:
            with pytest.raises(Ended) as ended:
                await other.receive()
        assert ended.value.code == "overloaded"
        assert (await last(deaf)).code == "stream_idle"
        await admitted(started, "grpc")


async def last(talk: Talk) -> Ended:
    """What a stream ends with after some more answers."""
    while True:
        try:
            await talk.receive()
        except Ended as ended:
            return ended


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_leaves_makes_room(
    start: Starting, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    started = await start(capacity=1)
    async with started.talk(transport, await started.open()) as talk:
        await talk.send(0)
        assert await talk.receive() == [0]
        await talk.leave()
        # For gRPC's library both may look as if the client had nothing more to say.
        assert (await lines(caplog, 1))[0]["code"] in ("client_left", *(["ok"] if transport == "grpc" else ()))
    await admitted(started, transport)


class Gate:
    """Holds up what a session is advanced by, until it is opened."""

    def __init__(self, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        advance = started.live.advance

        async def wait(*given: Any, **named: Any) -> LivePoses:
            self.reached.set()
            await self.opened.wait()
            return await advance(*given, **named)

        monkeypatch.setattr(started.live, "advance", wait)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_when_the_server_stops_what_was_read_is_answered_and_the_stream_told(
    start: Starting, transport: str, monkeypatch: pytest.MonkeyPatch
):
    started = await start()
    gate = Gate(started, monkeypatch)
    session_id = await started.open()
    async with started.talk(transport, session_id) as talk:
        for first in range(3):
            await talk.send(first)
        await asyncio.wait_for(gate.reached.wait(), PATIENCE_S)
        stopping = asyncio.create_task(started.stop())
        await wait_until_stopping(started)
        assert not stopping.done()
        gate.opened.set()
        assert await talk.receive() == [0]
        with pytest.raises(Ended) as ended:
            await talk.receive()
        assert ended.value.code == "not_ready"
        await asyncio.wait_for(stopping, PATIENCE_S)
    assert await started.next_frame_index(session_id) == 1


async def test_streams_that_wait_do_not_hold_up_the_end(start: Starting):
    started = await start()
    async with AsyncExitStack() as several:
        talks = [
            await several.enter_async_context(started.talk(transport, await started.open()))
            for transport in TRANSPORTS * 2
        ]
        for talk in talks[:2]:
            await talk.send(0)
            assert await talk.receive() == [0]
        deaf = await several.enter_async_context(started.talk("grpc", await started.open()))
        for number in range(20):
            await deaf.send(number * 60, 60)
        stopping = asyncio.create_task(started.stop())
        for talk in talks:
            with pytest.raises(Ended) as ended:
                await talk.receive()
            assert ended.value.code == "not_ready"
        await asyncio.wait_for(stopping, PATIENCE_S)


async def test_a_websocket_elsewhere_is_refused_and_counted(start: Starting, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    started = await start()
    with pytest.raises(Exception, match="403"):
        async with connect(f"ws://127.0.0.1:{started.http_port}/nothing"):
            pass
    assert [(line["code"], line["status"]) for line in await lines(caplog, 1)] == [("not_found", 403)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_that_is_too_large_ends_the_stream(
    start: Starting, transport: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    started = await start()
    session_id = await started.open()
    async with started.talk(transport, session_id) as talk:
        await talk.send(0, 6000)
        if transport == "grpc":
            with pytest.raises(Ended) as ended:
                await talk.receive()
            assert ended.value.code == "body_too_large"
        else:
            with pytest.raises(ConnectionClosed) as closed:
                await talk.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
    assert (await lines(caplog, 1))[0]["code"] == "body_too_large"
    assert await started.next_frame_index(session_id) == 0
