"""The WebSocket protocol, with a graceful shutdown and without clients that stall it."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# Time in which a client has to read what was sent before the close, and to confirm the close.
_CLOSE_TIMEOUT_S = 5.0


class GracefulWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, closed by the calls that serve the WebSockets instead of by uvicorn."""

    def shutdown(self) -> None:
        """Leave the WebSocket open when the server stops; uvicorn would close it in the middle of an answer."""

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_later()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._abort_later()

    def _abort_later(self) -> None:
        # Without it, a close waits for as long as the client does not read what was sent before.
        self.loop.call_later(_CLOSE_TIMEOUT_S, self.transport.abort)
