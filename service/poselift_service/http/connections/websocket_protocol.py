"""The WebSocket protocol, with a graceful shutdown and without clients that stall it or hold the event loop."""

import asyncio

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from poselift_service.errors import Overloaded
from poselift_service.http.connections.turns import Turns
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.limits import ConnectionLimits, Connections, SizeLimit

# Time in which a client has to read what was sent before the close, and to confirm the close.
_CLOSE_TIMEOUT_S = 5.0
# Bytes that are parsed at a time: few where frames end, more inside of a large one.
_FEW_BYTES, _MORE_BYTES = 512, 4096
# Close codes of RFC 6455, 7.4.1, and of its registry.
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013


def limited_websocket_protocol(
    limits: ConnectionLimits, connections: Connections, turns: Turns, budget: ByteBudget, max_message: SizeLimit
) -> type[WebSocketsSansIOProtocol]:
    """Build uvicorn's WebSocket protocol with limits.

    One message at a time is parsed and waits for the call that serves the WebSocket, and so many frames per second.
    The rest is held back, and the socket is not read meanwhile. The calls close WebSockets, not uvicorn.

    Args:
        connections: counts the connections; the HTTP protocol has counted this one.
        turns: of all connections that send more than can be parsed at once.
        budget: of the bytes of all requests; a message counts while it arrives, and until the next one is asked for.
        max_message: the largest message; uvicorn enforces it.
    """

    class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self._fail = self.conn.fail
            self.conn.fail = self._fail_with_setting  # type: ignore[method-assign]  # the library's parser calls it
            self._unparsed = b""
            self._piece_bytes = _FEW_BYTES
            self._frames = 0
            self._fragments = 0
            self._next_turn_s = 0.0
            self._is_waiting = False
            self._hold = budget.hold()
            # Of the message that arrives or waits, and of the one that is being answered.
            self._message_bytes = self._taken_bytes = 0

        def connection_lost(self, exc: Exception | None) -> None:
            connections.leave(self.client[0] if self.client else "")
            super().connection_lost(exc)
            # Dropped here, because what refers to them is cyclic and may stay for long.
            self._unparsed, self.frames = b"", []
            self.conn.reader.discard()
            self._hold.release()

        def data_received(self, data: bytes) -> None:
            self._unparsed = self._unparsed + data if self._unparsed else data
            if self._may_parse():
                self._parse()

        def _parse(self) -> None:
            """Parse until a message waits, or for a turn, which ends with the first frames."""
            self._is_waiting = False
            data, start = self._unparsed, 0
            while start < len(data) and self._may_parse():
                end = start + self._piece_bytes
                self._parse_piece(data[start:end])
                start = end
                if self._frames:
                    self._plan_next_turn(is_data_left=start < len(data))
            self._unparsed = b"" if self.transport.is_closing() else data[start:]
            self._count_bytes()
            self._pause_or_resume()

        def _count_bytes(self) -> None:
            """Hold the bytes that have arrived; close the WebSocket when there is no room for them."""
            if self.transport.is_closing():
                return
            try:
                unread = len(self.conn.reader.buffer) + len(self._unparsed)
                self._hold.resize(self._taken_bytes + self._message_bytes + unread)
            except Overloaded:
                self._unparsed, self.frames = b"", []
                if self.handshake_complete:
                    self._refuse(_TRY_AGAIN_LATER, "overloaded (setting max_bytes_in_flight)")
                else:
                    self.transport.abort()

        def _refuse(self, code: int, reason: str) -> None:
            if not self.close_sent:
                self.conn.send_close(code, reason)
                self.handle_parser_exception()

        def _fail_with_setting(self, code: int, reason: str = "") -> None:
            named = f"{reason} (setting {max_message.setting})"
            self._fail(code, named if code == CloseCode.MESSAGE_TOO_BIG else reason)

        def _may_parse(self) -> bool:
            return not self.read_paused and not self._is_waiting and not self.transport.is_closing()

        def _parse_piece(self, piece: bytes) -> None:
            self._frames = 0
            super().data_received(piece)
            self._piece_bytes = _FEW_BYTES if self._frames else min(2 * self._piece_bytes, _MORE_BYTES)

        def _plan_next_turn(self, *, is_data_left: bool) -> None:
            """Charge the frames of a piece, and let others have their turn; for longer if the frames come too fast.

            A client that has been slower than its rate may be faster for as many frames as come in a second.
            """
            now = self.loop.time()
            self._next_turn_s = max(self._next_turn_s, now - 1) + self._frames / limits.websocket_frames_per_s
            if self._next_turn_s > now:
                self._is_waiting = True
                self.loop.call_at(self._next_turn_s, turns.wait, self._parse)
            elif is_data_left:
                self._is_waiting = True
                turns.wait(self._parse)

        def _pause_or_resume(self) -> None:
            if self.transport.is_closing():
                return
            if self._unparsed or self._is_waiting:
                self.transport.pause_reading()
            elif not self.read_paused:
                self.transport.resume_reading()

        def handle_events(self) -> None:
            self._frames += len(self.conn.events)
            super().handle_events()

        def handle_text(self, event: Frame) -> None:
            self._fragments, self._message_bytes = 1, len(event.data)
            super().handle_text(event)
            event.data = b""  # the parser refers to a frame until the next one is complete

        def handle_bytes(self, event: Frame) -> None:
            self._fragments, self._message_bytes = 1, len(event.data)
            super().handle_bytes(event)
            event.data = b""

        def handle_cont(self, event: Frame) -> None:
            self._fragments += 1
            self._message_bytes += len(event.data)
            if self._fragments <= limits.websocket_fragments:
                super().handle_cont(event)
            else:
                self.frames = []
                self._refuse(_POLICY_VIOLATION, "too many fragments (setting max_websocket_fragments)")
            event.data = b""

        async def receive(self) -> ASGIReceiveEvent:
            self._taken_bytes = 0
            self._count_bytes()
            message = await self.queue.get()
            self._taken_bytes, self._message_bytes = self._message_bytes, 0
            if self.read_paused and self.queue.empty():
                self.read_paused = False
                if not self._is_waiting:
                    self._parse()
            return message

        async def send(self, message: ASGISendEvent) -> None:
            await super().send(message)
            if message["type"] == "websocket.close" and self._unparsed and not self._is_waiting:
                self._parse()  # up to the confirmation of the close

        def shutdown(self) -> None:
            """Leave the WebSocket open when the server stops; uvicorn would close it in the middle of an answer."""

        def keepalive_timeout(self) -> None:
            super().keepalive_timeout()
            self._abort_later()

        async def run_asgi(self) -> None:
            try:
                await super().run_asgi()
            finally:
                self.queue = asyncio.Queue()  # with the messages that nobody has taken
                self._abort_later()

        def _abort_later(self) -> None:
            # Without it, a close waits for as long as the client does not read what was sent before.
            self.loop.call_later(_CLOSE_TIMEOUT_S, self.transport.abort)

    return LimitedWebSocketProtocol
