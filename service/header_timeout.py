"""Hangs up on clients that open a connection and then send their header slowly or never, which uvicorn does not."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def http_protocol(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with a limit on the time that a header takes, on a new connection and on a kept one."""

    class PunctualHttpProtocol(HttpToolsProtocol):
        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_header()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_header()

        def on_headers_complete(self) -> None:
            self._have_header()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_header()
            super().connection_lost(exc)

        def _expect_header(self) -> None:
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(header_timeout_s, self.transport.abort)

        def _have_header(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

    return PunctualHttpProtocol
