"""Live sessions over WebSocket: the frames of one session, or of several, with one reply to each message."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from poselift.errors import PoseliftError
from poselift_service import errors
from poselift_service.codecs.json.live import JsonSharedCodec, JsonStreamCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.protobuf.live import ProtobufSharedCodec, ProtobufStreamCodec
from poselift_service.http.errors import ErrorAnswer, describe_error
from poselift_service.pipeline.live import LiveLifter
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream
from poselift_service.transport.shared_stream import SharedStream
from poselift_service.transport.streams import Stream, Streams

# Close codes of RFC 6455, 7.4.1: sent by a client that is done or goes away, and by the server, when it stops.
_NORMAL_CLOSES, _SERVICE_RESTART = (1000, 1001), 1012
# What a WebSocket is logged with when the protocol refuses a message: too many fragments, too many bytes, or too
# many of all requests.
_REFUSED_BY_PROTOCOL = {
    1008: errors.InvalidRequest.code,
    1009: errors.BodyTooLarge.code,
    1013: errors.Overloaded.code,
}
# Every other error closes with this plus its HTTP status, in the range for private use.
_PRIVATE_CLOSE = 4000
# A page that offers its key as a subprotocol also offers this one: browsers want one of them to be chosen.
SUBPROTOCOL = "poselift"
# Fast JSON libraries write bytes, which clients send as binary messages. No message in protobuf begins like this.
_JSON_OBJECT = b"{"
# Time in which a client has to read the message that says why its stream ends.
_LAST_MESSAGE_TIMEOUT_S = 5.0

AnswerMessage = Callable[[bytes], Awaitable[bytes]]


def add_stream(
    app: FastAPI,
    live: LiveLifter,
    streams: Streams,
    json_reader: JsonReader,
    *,
    metrics: Metrics,
    deadline_s: float,
) -> None:
    """Add the stream of a session to the HTTP interface.

    Args:
        json_reader: shared with the other calls.
        deadline_s: time from the reading of a message to its reply or failure.
    """
    json_codec, protobuf_codec = JsonStreamCodec(json_reader), ProtobufStreamCodec(live.limits)
    json_shared, protobuf_shared = JsonSharedCodec(json_reader, live.limits), ProtobufSharedCodec(live.limits)

    @app.websocket("/sessions/{session_id}/stream")
    async def stream_session(websocket: WebSocket, session_id: str) -> None:
        lifting = LiveStream(live, websocket.state.record, metrics, deadline_s=deadline_s, session_id=session_id)
        answers = partial(lifting.answer, json_codec), partial(lifting.answer, protobuf_codec)

        async def answer(stream: Stream) -> None:
            await lifting.begin()
            while not lifting.has_ended:
                await _answer_next(websocket, stream, *answers)

        await _serve(websocket, streams, metrics, answer)

    @app.websocket("/stream")
    async def stream_sessions(websocket: WebSocket) -> None:
        lifting = SharedStream(live, websocket.state.record, metrics, deadline_s=deadline_s)
        answers = partial(lifting.answer, json_shared), partial(lifting.answer, protobuf_shared)

        async def answer(stream: Stream) -> None:
            while True:
                await _answer_next(websocket, stream, *answers)

        await _serve(websocket, streams, metrics, answer)


async def _serve(
    websocket: WebSocket, streams: Streams, metrics: Metrics, answer: Callable[[Stream], Awaitable[None]]
) -> None:
    """Answer the messages of a WebSocket until it ends, and say why."""
    record: RequestRecord = websocket.state.record
    # Accepted before anything can be refused, because browsers hide the reason of a rejected handshake.
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)
    try:
        with streams.admit(record.peer) as stream, metrics.track_stream(record.transport):
            await answer(stream)
        await websocket.close()
    except WebSocketDisconnect as disconnect:
        record.status = disconnect.code
        if disconnect.code not in _NORMAL_CLOSES:
            record.code = _REFUSED_BY_PROTOCOL.get(disconnect.code, "client_left")
    except (PoseliftError, errors.ServiceError) as error:
        await _close_with_error(websocket, record, error)


async def _answer_next(
    websocket: WebSocket, stream: Stream, answer_json: AnswerMessage, answer_protobuf: AnswerMessage
) -> None:
    """Read one message and answer it in its own format.

    Messages that arrive meanwhile are not read, so backpressure reaches the client.
    """
    message = await stream.read(websocket.receive)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    text = message.get("text")
    body: bytes = message["bytes"] if text is None else text.encode()
    is_json = text is not None or body.startswith(_JSON_OBJECT)
    answer = await (answer_json(body) if is_json else answer_protobuf(body))
    await stream.write(websocket.send_text(answer.decode()) if is_json else websocket.send_bytes(answer))


async def _close_with_error(
    websocket: WebSocket, record: RequestRecord, error: PoseliftError | errors.ServiceError
) -> None:
    """Send a last message that says why the stream ends, and close it."""
    status, detail = describe_error(error)
    record.code = detail.code
    if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
        detail.retry_after_s = math.ceil(error.retry_after_s)
    code = _SERVICE_RESTART if isinstance(error, errors.NotReady) else _PRIVATE_CLOSE + status
    # A client that does not read gets this time, and one that is gone none.
    with contextlib.suppress(TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(_LAST_MESSAGE_TIMEOUT_S):
            await websocket.send_text(ErrorAnswer(error=detail).model_dump_json(exclude_none=True))
            await websocket.close(code, detail.code)
