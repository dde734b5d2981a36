"""The HTTP protocol on a busy event loop."""

import asyncio
import socket
import threading
import time

import uvicorn
import uvloop
from poselift_service.http.connections.protocol import limited_http_protocol
from poselift_service.http.connections.turns import Turns
from poselift_service.transport.limits import ConnectionLimits, Connections

HEADER_TIMEOUT_S = 0.3
LIMITS = ConnectionLimits(
    connections=10,
    connections_per_peer=10,
    calls=10,
    header_bytes=8192,
    header_timeout_s=HEADER_TIMEOUT_S,
    stall_timeout_s=60,
    keep_alive_s=60,
    age_s=60,
    websocket_frames_per_s=500,
    websocket_fragments=100,
)
REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


async def answers(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def request_while_the_loop_is_late() -> bytes:
    """Send a request while the server is busy with another one for longer than the header timeout."""
    is_busy, has_requested = threading.Event(), threading.Event()

    class LateProtocol(limited_http_protocol(LIMITS, Connections(LIMITS), Turns(), lambda *_: None)):  # type: ignore[misc]
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data != REQUEST:
                is_busy.set()
                has_requested.wait(60)
                time.sleep(2 * HEADER_TIMEOUT_S)

    def ask(port: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), 60) as other,
            socket.create_connection(other.getpeername()) as asking,
        ):
            while len(server.server_state.connections) < 2:
                time.sleep(0.01)
            other.sendall(b"GET / HTTP/1.1\r\nhost: there\r\n\r\n")
            is_busy.wait(60)
            asking.sendall(REQUEST)
            has_requested.set()
            return asking.recv(12)

    config = uvicorn.Config(answers, port=0, lifespan="off", http=LateProtocol)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        return await asyncio.to_thread(ask, server.servers[0].sockets[0].getsockname()[1])
    finally:
        await server.shutdown()


def test_a_header_that_arrived_in_time_is_read_by_a_late_event_loop() -> None:
    assert uvloop.run(request_while_the_loop_is_late()) == b"HTTP/1.1 204"
