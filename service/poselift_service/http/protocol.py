"""The HTTP protocol, with timeouts and sizes that uvicorn does not limit."""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from poselift_service.transport.limits import ConnectionLimits

OnRejected = Callable[[int, str], None]

# The event loop reads sockets between two rounds of timers, but not before a timer without any delay.
_FINAL_READ_S = 0.01


def limited_http_protocol(limits: ConnectionLimits, on_rejected: OnRejected) -> type[HttpToolsProtocol]:
    """Build uvicorn's HTTP protocol with limits.

    A header must arrive in time and within its size, on a new connection and on a kept one. A connection is aborted
    when its client reads nothing of a long response, or keeps sending a body after its response. On a connection over
    the age limit the next response is the last.

    Args:
        on_rejected: called with the status and the code of each response sent here, to what never becomes a request.
    """

    class LimitedHttpProtocol(HttpToolsProtocol):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self._read_timeout: asyncio.TimerHandle | None = None
            self._write_check: asyncio.TimerHandle | None = None
            self._bytes_without_progress = 0
            self._unsent_bytes = 0
            self._closed = False
            self._opened_s = self.loop.time()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._reject(HTTPStatus.TOO_MANY_REQUESTS, "overloaded", "The server has no connection left.")
            else:
                self._start_read_timeout(limits.header_timeout_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_read_timeout()
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._closed:
                return
            # Counts bytes that neither complete a header nor belong to a body: an endless header, or trailers.
            self._bytes_without_progress += len(data)
            super().data_received(data)
            if self._bytes_without_progress > limits.header_bytes:
                self._reject_header()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._start_read_timeout(limits.header_timeout_s)

        def on_headers_complete(self) -> None:
            self._cancel_read_timeout()
            self._bytes_without_progress = 0
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > limits.header_bytes:
                self._reject_header()
                raise ValueError("stops the parser")
            super().on_headers_complete()
            if self.loop.time() - self._opened_s > limits.age_s and not self.parser.should_upgrade():
                self.cycle.keep_alive = False  # the response announces it

        def on_body(self, body: bytes) -> None:
            self._bytes_without_progress = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._cancel_read_timeout()
            self._bytes_without_progress = 0
            super().on_message_complete()

        def on_response_complete(self) -> None:
            if self.cycle.more_body and self.cycle.response_complete:
                self._start_read_timeout(limits.stall_timeout_s)
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._start_write_check()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._write_check is not None:
                self._write_check.cancel()
                self._write_check = None

        def send_400_response(self, msg: str) -> None:
            """Replace uvicorn's plain text for what its parser refuses by the form of all other errors."""
            self._reject(HTTPStatus.BAD_REQUEST, "invalid_request", "The bytes of the request are not HTTP.")

        def _reject_header(self) -> None:
            message = f"A header may have at most {limits.header_bytes} bytes."
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", message)

        def _reject(self, status: HTTPStatus, code: str, message: str) -> None:
            """Send a response without a request, and close; only the first reason is sent."""
            if self._closed or self.transport.is_closing():
                return
            self._closed = True
            body = json.dumps({"error": {"code": code, "message": message}}).encode()
            head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()
            on_rejected(status, code)

        def _start_read_timeout(self, time_s: float) -> None:
            if self._read_timeout is None:
                self._read_timeout = self.loop.call_later(time_s, self._abort_after_final_read)

        def _abort_after_final_read(self) -> None:
            # On a busy machine the event loop itself may be late, with the expected bytes unread in the socket.
            self._read_timeout = self.loop.call_later(_FINAL_READ_S, self.transport.abort)

        def _cancel_read_timeout(self) -> None:
            if self._read_timeout is not None:
                self._read_timeout.cancel()
                self._read_timeout = None

        def _start_write_check(self) -> None:
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._write_check = self.loop.call_later(limits.stall_timeout_s, self._check_write_progress)

        def _check_write_progress(self) -> None:
            if self.transport.get_write_buffer_size() >= self._unsent_bytes:
                self.transport.abort()
            else:
                self._start_write_check()

    return LimitedHttpProtocol
