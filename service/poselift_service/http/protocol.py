"""Hangs up on clients that send slowly, do not read, or send what is not HTTP, where uvicorn has more patience."""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from poselift_service.transport.limits import ConnectionLimits

Refused = Callable[[int, str], None]

# Loops read between one round of timers and the next, but not before a timer without any delay.
_LAST_READ_S = 0.01


def http_protocol(limits: ConnectionLimits, refused: Refused) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with limits.

    A header, on a new connection and on a kept one, must come in time and be no larger than allowed; a client that
    reads nothing of a long answer is hung up on, and so is one that goes on sending a body that has been answered. On a
    connection of some age the next answer is the last.

    Args:
        refused: called with the status and the code of each answer that is given here, to what never becomes a request.
    """

    class StrictHttpProtocol(HttpToolsProtocol):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[arg-type]
            self._sending: asyncio.TimerHandle | None = None
            self._reading: asyncio.TimerHandle | None = None
            self._fruitless_bytes = 0
            self._unread_bytes = 0
            self._hung_up = False
            self._opened_s = self.loop.time()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._refuse(HTTPStatus.TOO_MANY_REQUESTS, "overloaded", "The server has no connection left.")
            else:
                self._expect(limits.header_timeout_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_what_was_expected()
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._hung_up:
                return
            # Bytes that bring no end of a header and nothing of a body: a header that never ends, or trailers.
            self._fruitless_bytes += len(data)
            super().data_received(data)
            if self._fruitless_bytes > limits.header_bytes:
                self._refuse_header()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect(limits.header_timeout_s)

        def on_headers_complete(self) -> None:
            self._have_what_was_expected()
            self._fruitless_bytes = 0
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > limits.header_bytes:
                self._refuse_header()
                raise ValueError("the parser is not to go on")
            super().on_headers_complete()
            if self.loop.time() - self._opened_s > limits.age_s and not self.parser.should_upgrade():
                self.cycle.keep_alive = False  # the answer says so

        def on_body(self, body: bytes) -> None:
            self._fruitless_bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._have_what_was_expected()
            self._fruitless_bytes = 0
            super().on_message_complete()

        def on_response_complete(self) -> None:
            if self.cycle.more_body and self.cycle.response_complete:
                self._expect(limits.stall_timeout_s)
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect_to_be_read()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

        def send_400_response(self, msg: str) -> None:
            """uvicorn's answer to what its parser refuses; in our form, because clients read all others in that."""
            self._refuse(HTTPStatus.BAD_REQUEST, "invalid_request", "The bytes of the request are not HTTP.")

        def _refuse_header(self) -> None:
            said = f"A header may have at most {limits.header_bytes} bytes."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", said)

        def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
            """Answer without a request, and hang up; the first reason counts."""
            if self._hung_up or self.transport.is_closing():
                return
            self._hung_up = True
            body = json.dumps({"error": {"code": code, "message": message}}).encode()
            head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()
            refused(status, code)

        def _expect(self, time_s: float) -> None:
            if self._sending is None:
                self._sending = self.loop.call_later(time_s, self._read_a_last_time)

        def _read_a_last_time(self) -> None:
            # It may have been this loop that was late, on a busy machine, and what was expected lies unread.
            self._sending = self.loop.call_later(_LAST_READ_S, self.transport.abort)

        def _have_what_was_expected(self) -> None:
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None

        def _expect_to_be_read(self) -> None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._reading = self.loop.call_later(limits.stall_timeout_s, self._look_at_reader)

        def _look_at_reader(self) -> None:
            if self.transport.get_write_buffer_size() >= self._unread_bytes:
                self.transport.abort()
            else:
                self._expect_to_be_read()

    return StrictHttpProtocol
