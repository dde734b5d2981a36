"""The HTTP protocol, with timeouts and sizes that uvicorn does not limit."""

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from poselift_service.http.connections.pipelining import (
    CHUNKS_BYTES,
    MAX_WAITING,
    GatedFlowControl,
    body_length,
    next_piece,
)
from poselift_service.http.connections.turns import TURN_S, Turns
from poselift_service.http.connections.write_progress import WriteProgress
from poselift_service.http.paths import PROBES
from poselift_service.transport.limits import ConnectionLimits, Connections

OnRejected = Callable[[int, str], None]

# The event loop reads sockets between two rounds of timers, but not before a timer without any delay.
_FINAL_READ_S = 0.01
# Each field takes time again and again; browsers and proxies send some dozens.
_MAX_HEADER_FIELDS = 128
# Connections over the limit that may still ask for a probe, and the time that they have to ask.
_RESERVE = 16
_RESERVE_TIMEOUT_S = 1.0
_PROBE_URLS = frozenset(path.encode() for path in PROBES)


def limited_http_protocol(
    limits: ConnectionLimits, connections: Connections, turns: Turns, on_rejected: OnRejected
) -> type[HttpToolsProtocol]:
    """Build uvicorn's HTTP protocol with limits.

    A header must arrive in time and within its size, on a new connection and on a kept one. A connection is aborted
    when its client reads nothing of a long response, or keeps sending a body after its response. On a connection over
    the age limit the next response is the last. Few pipelined requests wait; the socket is not read meanwhile.

    A connection over the limits of their number may ask for a probe and nothing else. There is a reserve for a few of
    these; a new one takes the place of the oldest that has not asked.

    Args:
        connections: counts the connections, those that become WebSockets included.
        turns: of all connections that send more than can be parsed at once.
        on_rejected: called with the status and the code of each response sent here, to what never becomes a request.
    """
    reserve: dict[HttpToolsProtocol, None] = {}

    class LimitedHttpProtocol(HttpToolsProtocol):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self._read_timeout: asyncio.TimerHandle | None = None
            self._write_progress = WriteProgress(self.loop, limits.stall_timeout_s)
            self._bytes_without_progress = 0
            self._closed = False
            self._opened_s = self.loop.time()
            self._unparsed = b""
            self._body_left: int | None = 0
            self._exceeded: str | None = None
            self._address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.flow: GatedFlowControl = GatedFlowControl(transport)
            self._address = self.client[0] if self.client else ""
            self._exceeded = connections.enter(self._address)
            if self._exceeded is None:
                self._start_read_timeout(limits.header_timeout_s)
            else:
                self._enter_reserve()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._exceeded is None:
                connections.leave(self._address)
            reserve.pop(self, None)
            self._cancel_read_timeout()
            self.resume_writing()
            super().connection_lost(exc)
            # Dropped here, because what refers to them is cyclic and may stay for long.
            self._unparsed = b""
            self.pipeline.clear()

        def data_received(self, data: bytes) -> None:
            self._unparsed = self._unparsed + data if self._unparsed else data
            self._parse()

        def _parse(self) -> None:
            """Parse until the pipeline is full or the turn is over; the rest is held back."""
            data, start = self._unparsed, 0
            turn_ends_s = time.monotonic() + TURN_S
            while start < len(data) and len(self.pipeline) < MAX_WAITING and not self._closed:
                end = self._piece_end(data, start)
                self._parse_piece(data if end - start == len(data) else data[start:end])
                start = end
                if start < len(data) and time.monotonic() > turn_ends_s:
                    turns.wait(self._parse)
                    break
            self._hold_back(b"" if self._closed else data[start:])

        def _piece_end(self, data: bytes, start: int) -> int:
            if self._body_left:
                return min(len(data), start + self._body_left)
            end = next_piece(data, start, MAX_WAITING - len(self.pipeline))
            return end if self._body_left is not None else min(end, start + CHUNKS_BYTES)

        def _hold_back(self, unparsed: bytes) -> None:
            """Keep bytes for later; as long as there are any, the socket is not read."""
            self._unparsed = unparsed
            if unparsed:
                self.flow.close_gate()
            elif self.flow.is_closed:
                self.flow.open_gate()
                if not self.pipeline and not self.transport.is_closing():
                    self.flow.resume_reading()

        def _parse_piece(self, piece: bytes) -> None:
            # Counts bytes that neither complete a header nor belong to a body: an endless header, or trailers.
            self._bytes_without_progress += len(piece)
            super().data_received(piece)
            if self._bytes_without_progress > limits.header_bytes:
                self._reject_header()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._start_read_timeout(limits.header_timeout_s)

        def on_headers_complete(self) -> None:
            self._cancel_read_timeout()
            self._bytes_without_progress = 0
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > limits.header_bytes or len(self.headers) > _MAX_HEADER_FIELDS:
                self._reject_header()
                raise ValueError("stops the parser")
            if self.parser.should_upgrade() and _is_answering(self.cycle):
                self.send_400_response("")  # the responses before it would go into the middle of the WebSocket
                raise ValueError("stops the parser")
            if self._exceeded is not None:
                self._leave_reserve()
            super().on_headers_complete()
            self._body_left = body_length(self.headers)
            if self._exceeded is not None:
                self.cycle.keep_alive = False
            elif self.loop.time() - self._opened_s > limits.age_s and not self.parser.should_upgrade():
                self.cycle.keep_alive = False  # the response announces it

        def on_body(self, body: bytes) -> None:
            self._bytes_without_progress = 0
            if self._body_left is not None:
                self._body_left -= len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._cancel_read_timeout()
            self._bytes_without_progress = 0
            self._body_left = 0
            super().on_message_complete()

        def on_response_complete(self) -> None:
            if self.cycle.more_body and self.cycle.response_complete:
                self._start_read_timeout(limits.stall_timeout_s)
            super().on_response_complete()
            if self._unparsed:
                turns.wait(self._parse)

        def shutdown(self) -> None:
            self._unparsed = b""
            super().shutdown()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._write_progress.watch(self.transport)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._write_progress.stop()

        def handle_websocket_upgrade(self) -> None:
            super().handle_websocket_upgrade()
            self._closed = True  # nothing more is HTTP

        def send_400_response(self, msg: str) -> None:
            """Replace uvicorn's plain text for what its parser refuses by the form of all other errors."""
            self._reject(HTTPStatus.BAD_REQUEST, "invalid_request", "The bytes of the request are not HTTP.")

        def _enter_reserve(self) -> None:
            """Wait for a probe on a connection that is over the limits."""
            if len(reserve) >= _RESERVE:
                next(iter(reserve))._reject_excess()  # type: ignore[attr-defined]
            reserve[self] = None
            self._start_read_timeout(min(limits.header_timeout_s, _RESERVE_TIMEOUT_S))

        def _leave_reserve(self) -> None:
            """Let a probe through."""
            reserve.pop(self, None)
            if self.parser.should_upgrade() or self.url.partition(b"?")[0] not in _PROBE_URLS:
                self._reject_excess()
                raise ValueError("stops the parser")

        def _reject_excess(self) -> None:
            reserve.pop(self, None)
            message = f"The server has no connection left for this client (setting {self._exceeded})."
            self._reject(HTTPStatus.TOO_MANY_REQUESTS, "overloaded", message)

        def _reject_header(self) -> None:
            size = f"{limits.header_bytes} bytes (setting max_header_bytes)"
            message = f"A header may have at most {size} and {_MAX_HEADER_FIELDS} fields."
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", message)

        def _reject(self, status: HTTPStatus, code: str, message: str) -> None:
            """Send a response without a request, and close; only the first reason is sent."""
            if self._closed or self.transport.is_closing():
                return
            self._closed = True
            self.transport.write(_response(status, code, message))
            self.transport.close()
            on_rejected(status, code)

        def _start_read_timeout(self, time_s: float) -> None:
            if self._read_timeout is None:
                self._read_timeout = self.loop.call_later(time_s, self._abort_after_final_read)

        def _abort_after_final_read(self) -> None:
            # On a busy machine the event loop itself may be late, with the expected bytes unread in the socket.
            self._read_timeout = self.loop.call_later(_FINAL_READ_S, self._end_read_timeout)

        def _end_read_timeout(self) -> None:
            self._read_timeout = None
            if self.flow.read_paused:  # the rest waits behind other requests
                self._start_read_timeout(limits.header_timeout_s)
            elif self in reserve:
                self._reject_excess()
            else:
                self.transport.abort()

        def _cancel_read_timeout(self) -> None:
            if self._read_timeout is not None:
                self._read_timeout.cancel()
                self._read_timeout = None

    return LimitedHttpProtocol


def _response(status: HTTPStatus, code: str, message: str) -> bytes:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _is_answering(cycle: RequestResponseCycle | None) -> bool:
    """Whether there was a request and its response is not complete."""
    return cycle is not None and not cycle.response_complete
