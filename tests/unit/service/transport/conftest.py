"""Starts the servers of streams for a test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import uvicorn
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.grpc.server import GrpcServer
from poselift_service.grpc.sessions import session_methods
from poselift_service.http.app import create_app
from poselift_service.http.connections.turns import Turns
from poselift_service.http.connections.websocket_protocol import limited_websocket_protocol
from poselift_service.http.stream import add_stream
from poselift_service.pipeline.live import LiveLifter
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.sessions import Sessions
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.limits import ConnectionLimits, Connections, SizeLimit
from poselift_service.transport.streams import Streams

from tests.unit.service.conftest import Serving
from tests.unit.service.transport.stream_clients import TIMEOUT_S
from tests.unit.service.transport.stream_servers import MAX_MESSAGE_BYTES, Servers, ServerWithoutSignals, StartServers

LIMITS = ConnectionLimits(
    connections=10,
    connections_per_peer=10,
    calls=10,
    header_bytes=8192,
    header_timeout_s=60,
    stall_timeout_s=60,
    keep_alive_s=60,
    age_s=60,
    websocket_frames_per_s=500,
    websocket_fragments=100,
)


@pytest.fixture
async def start_servers(serving: Serving) -> AsyncIterator[StartServers]:
    """Starts the servers with limits of choice."""
    async with AsyncExitStack() as ending:

        async def start_servers(
            *, capacity: int = 10, per_peer: int = 10, idle_s: float = 600, stall_s: float = 600
        ) -> Servers:
            metrics = Metrics()
            live = LiveLifter(serving.pipeline, Sessions(MemoryStore(ttl_s=600), ttl_s=600, limits=SessionLimits(10)))
            streams = Streams(
                capacity=capacity, per_peer=per_peer, first_message_s=idle_s, idle_s=idle_s, stall_s=stall_s
            )
            server = GrpcServer(
                session_methods(live, streams, metrics=metrics, deadline_s=TIMEOUT_S),
                metrics=metrics,
                max_message=SizeLimit(MAX_MESSAGE_BYTES),
                deadline_s=TIMEOUT_S,
            )
            grpc_port = server.listen("127.0.0.1", 0)
            await server.start()
            json_reader = JsonReader(serving.pipeline.limits)
            app = create_app(
                serving.pipeline,
                json_reader,
                metrics=metrics,
                is_ready=lambda: True,
                max_body=SizeLimit(MAX_MESSAGE_BYTES),
                deadline_s=TIMEOUT_S,
                version="0",
            )
            add_stream(app, live, streams, json_reader, metrics=metrics, deadline_s=TIMEOUT_S)
            listener = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
            config = uvicorn.Config(
                app,
                ws=limited_websocket_protocol(
                    LIMITS,
                    Connections(LIMITS),
                    Turns(),
                    ByteBudget(100 * MAX_MESSAGE_BYTES),
                    SizeLimit(MAX_MESSAGE_BYTES),
                ),
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
            )
            http = ServerWithoutSignals(config)
            http_task = asyncio.create_task(http.serve(sockets=[listener]))
            port = listener.getsockname()[1]
            servers = Servers(live, streams, metrics, server, http, http_task, grpc_port, port)
            ending.push_async_callback(servers.stop)
            return servers

        yield start_servers
