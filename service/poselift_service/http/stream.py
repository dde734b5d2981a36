"""Live sessions over WebSocket: the frames of one session, with one reply to each message."""

import asyncio
import contextlib
import math
from dataclasses import dataclass

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from numpy.typing import NDArray

from poselift.errors import PoseliftError
from poselift_service import errors
from poselift_service.codecs.json import live as json_live
from poselift_service.codecs.json.long import LongJson
from poselift_service.codecs.protobuf import live as protobuf_live
from poselift_service.http.errors import ErrorAnswer, describe_error
from poselift_service.pipeline.live import LivePoses, LiveSessions
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.session import Session
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream
from poselift_service.transport.streams import Stream, Streams

# Close codes of RFC 6455, 7.4.1: sent by a client that is done or goes away; by the protocol, for a message over the
# limit; by the server, when it stops.
_NORMAL_CLOSES, _MESSAGE_TOO_BIG, _SERVICE_RESTART = (1000, 1001), 1009, 1012
# Every other error closes with this plus its HTTP status, in the range for private use.
_PRIVATE_CLOSE = 4000
# Time in which a client has to read the message that says why its stream ends.
_LAST_MESSAGE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class _JsonMessage:
    """Frames as `POST /sessions/{session_id}/frames` takes them, or the end."""

    body: bytes
    reader: LongJson

    @property
    def session_id(self) -> str:
        return ""  # it is in the path

    @property
    def ends(self) -> bool:
        return json_live.says_end(self.body)

    async def frames(self, session: Session) -> tuple[int, NDArray[np.float32]]:
        return await self.reader.read_frames(self.body, session)


class _JsonCodec:
    """Reads messages and writes answers in JSON."""

    def __init__(self, reader: LongJson) -> None:
        self._reader = reader

    def read_message(self, body: bytes) -> _JsonMessage:
        return _JsonMessage(body, self._reader)

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        return json_live.write_poses(poses, total_s=total_s)


def add_stream(app: FastAPI, live: LiveSessions, streams: Streams, *, metrics: Metrics, deadline_s: float) -> None:
    """Add the stream of a session to the HTTP interface.

    Args:
        deadline_s: time from the reading of a message to its reply or failure.
    """
    json_codec = _JsonCodec(LongJson(Limits(frames=live.max_frames, tracks=1)))

    @app.websocket("/sessions/{session_id}/stream")
    async def stream_session(websocket: WebSocket, session_id: str) -> None:
        record: RequestRecord = websocket.state.record
        lifting = LiveStream(live, record, metrics, deadline_s=deadline_s, session_id=session_id)
        # Accepted before anything can be refused, because browsers hide the reason of a rejected handshake.
        await websocket.accept()
        try:
            with streams.admit() as stream, metrics.track_stream(record.transport):
                while not lifting.has_ended:
                    await _answer_next(websocket, stream, lifting, json_codec)
            await websocket.close()
        except WebSocketDisconnect as disconnect:
            record.status = disconnect.code
            if disconnect.code not in _NORMAL_CLOSES:
                record.code = errors.BodyTooLarge.code if disconnect.code == _MESSAGE_TOO_BIG else "client_left"
        except (PoseliftError, errors.ServiceError) as error:
            await _close_with_error(websocket, record, error)


async def _answer_next(websocket: WebSocket, stream: Stream, lifting: LiveStream, json_codec: _JsonCodec) -> None:
    """Read one message and answer it in its own format.

    Messages that arrive meanwhile are not read, so backpressure reaches the client.
    """
    message = await stream.read(websocket.receive)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    if (text := message.get("text")) is not None:
        answer = await lifting.answer(json_codec, text.encode())
        await stream.write(websocket.send_text(answer.decode()))
    else:
        answer = await lifting.answer(protobuf_live, message["bytes"])
        await stream.write(websocket.send_bytes(answer))


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
