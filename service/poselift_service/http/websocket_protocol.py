"""Lets WebSockets answer what they have read when the server stops, and hangs up on clients that do not read."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# Time in which a client has to take what was written before its WebSocket was closed, and to say that it has closed it.
_CLOSING_S = 5.0


class OrderlyWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, whose WebSockets are ended by those who serve them."""

    def shutdown(self) -> None:
        """The server stops; uvicorn would close here, in the middle of what is being answered."""

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._hang_up_soon()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._hang_up_soon()

    def _hang_up_soon(self) -> None:
        # Closing alone waits for as long as the client does not read what was written before.
        self.loop.call_later(_CLOSING_S, self.transport.abort)
