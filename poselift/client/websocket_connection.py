"""Streams over WebSocket, in JSON."""

import json
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from poselift.client.answers import StreamAnswer, read_stream_answer
from poselift.client.conversation import EndMessage, Message
from poselift.client.endpoint import Endpoint
from poselift.client.errors import ApiError, error_of_body, error_of_response, unreachable

# The closes that the server, or its library, does not explain in a message before, by their codes in RFC 6455.
_CLOSES = {1008: "invalid_request", 1009: "body_too_large", 1013: "overloaded"}


class WebSocketConnection:
    """One WebSocket of a session."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, endpoint: Endpoint, session_id: str) -> Self:
        """Connect; raises ApiError."""
        url = endpoint.websocket_url(f"/sessions/{session_id}/stream")
        try:
            socket = await connect(
                url,
                additional_headers=endpoint.headers,
                ssl=endpoint.ssl_context,
                compression=None,
                max_size=None,
                open_timeout=None,
            )
        except InvalidStatus as refused:
            response = refused.response
            document = _parsed(response.body or b"")
            raise error_of_response(response.status_code, response.headers, document) from refused
        except (OSError, EOFError, InvalidHandshake) as error:
            raise unreachable(error) from error
        return cls(socket)

    async def send(self, message: Message) -> None:
        """Send a message; why that is not possible is told by `receive`."""
        try:
            await self._socket.send(json.dumps(_document(message), separators=(",", ":")))
        except ConnectionClosed:
            return

    async def receive(self) -> StreamAnswer:
        """The next answer; raises ApiError."""
        try:
            document = _parsed(await self._socket.recv())
        except ConnectionClosed as closed:
            raise _error_of_close(closed) from closed
        if (error := error_of_body(document)) is not None:
            raise error
        return read_stream_answer(document)

    async def drop(self) -> None:
        """End the connection without the closing handshake, which a server that is gone would not answer."""
        self._socket.transport.abort()
        await self._socket.wait_closed()


def _document(message: Message) -> dict[str, Any]:
    if isinstance(message, EndMessage):
        return {"end": True, "next_frame_index": message.next_frame_index}
    time = {} if message.time_s is None else {"time_s": message.time_s}
    return {"frame_index": message.frame_index, "keypoints": [message.keypoints], **time}


def _parsed(text: str | bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _error_of_close(closed: ConnectionClosed) -> ApiError:
    code = 1006 if closed.rcvd is None else closed.rcvd.code
    if code in _CLOSES:
        return ApiError(_CLOSES[code], f"The server closed the stream with code {code}.")
    return unreachable(closed)
