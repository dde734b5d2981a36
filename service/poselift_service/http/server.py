"""uvicorn, configured for the HTTP interface."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from poselift_service.http.connections.protocol import limited_http_protocol
from poselift_service.http.connections.turns import Turns
from poselift_service.http.connections.websocket_protocol import limited_websocket_protocol
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.requests import close_request, open_request
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.limits import ConnectionLimits, Connections, SizeLimit
from poselift_service.transport.tls import Tls


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: they would end the process by the signal instead of with exit code 0."""

    @property
    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """Makes the event loop to run on."""
        return self.config.get_loop_factory()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(
    app: FastAPI,
    limits: ConnectionLimits,
    *,
    metrics: Metrics,
    max_message: SizeLimit,
    idle_s: float,
    grace_s: float,
    budget: ByteBudget,
    tls: Tls | None = None,
) -> HttpServer:
    """Build the server of the HTTP interface.

    Args:
        limits: what a client may do with a connection.
        max_message: the largest message over WebSocket.
        idle_s: longest time that a stream waits for its client.
        grace_s: time in which accepted requests may finish at the end.
        budget: of the bytes of all requests.
        tls: certificate and key; None serves without encryption.
    """

    def log_rejected_connection(status: int, code: str) -> None:
        record = open_request("http", "-", lambda header: None, metrics)
        record.status, record.code = status, code
        close_request(record, metrics)

    connections, turns = Connections(limits), Turns()
    config = uvicorn.Config(
        app,
        http=limited_http_protocol(limits, connections, turns, log_rejected_connection),
        ws=limited_websocket_protocol(limits, connections, turns, budget, max_message),
        ws_max_size=max_message.bytes,
        # A small compressed message may expand to a huge one.
        ws_per_message_deflate=False,
        # A pong is read after the messages queued before it; a busy server must not mistake a late one for a dead peer.
        ws_ping_timeout=idle_s,
        lifespan="off",
        proxy_headers=False,  # ours are read by the application
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=math.ceil(grace_s),
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
    )
    return HttpServer(config)
