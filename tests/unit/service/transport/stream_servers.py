"""Both servers over one set of sessions, on the loopback and in front of a scripted engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import uvicorn
from poselift_service.grpc.server import GrpcServer
from poselift_service.pipeline.live import LiveLifter
from poselift_service.sessions.session import Caller
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.streams import Streams
from websockets.asyncio.client import connect

from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.unit.service.transport.stream_clients import (
    OPENING,
    TIMEOUT_S,
    GrpcStreamClient,
    StreamClient,
    StreamEnded,
    WebSocketStreamClient,
)

MAX_MESSAGE_BYTES = 1_000_000


class ServerWithoutSignals(uvicorn.Server):
    """Without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass(frozen=True)
class Servers:
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
        return (await self.live.open(OPENING, None, Caller(), deadline=time.monotonic() + 60)).session_id

    async def next_frame_index(self, session_id: str) -> int:
        return (await self.live.read(session_id, Caller(), deadline=time.monotonic() + 60)).next_frame_index

    @asynccontextmanager
    async def connect(self, transport: str, session_id: str) -> AsyncIterator[StreamClient]:
        if transport == "websocket":
            address = f"ws://127.0.0.1:{self.http_port}/sessions/{session_id}/stream"
            async with connect(address, open_timeout=TIMEOUT_S, close_timeout=0.1, max_queue=1) as websocket:
                yield WebSocketStreamClient(websocket)
            return
        # Without the probe, the client takes no more than 64 KiB that nobody reads.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}", options) as channel:
            stub: Any = LiftingServiceStub(channel)
            call = stub.LiftStream(metadata=(("x-request-id", "my-own"),))
            yield GrpcStreamClient(call, session_id)
            call.cancel()

    async def stop(self) -> None:
        """As the server does it, with more grace than a test waits."""
        self.streams.stop()
        self.http.should_exit = True
        await asyncio.gather(self.grpc.stop(10 * TIMEOUT_S), self.http_task)


StartServers = Callable[..., Awaitable[Servers]]


async def wait_until_admitted(servers: Servers, transport: str) -> None:
    """Wait until there is room for another stream."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            async with servers.connect(transport, await servers.open()) as client:
                with suppress(StreamEnded):
                    await client.send(0)
                    assert await client.receive() == [0]
                    return
