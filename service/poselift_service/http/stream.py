"""Live sessions over WebSocket: the frames of one session, each message answered by one message."""

import asyncio
import contextlib
import math
from dataclasses import dataclass

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from numpy.typing import NDArray

from poselift.errors import PoseliftError
from poselift_service import errors
from poselift_service.codecs.json import live as live_json
from poselift_service.codecs.json.long import LongJson
from poselift_service.codecs.protobuf import live as protobuf_live
from poselift_service.http.app import ErrorAnswer, describe_error
from poselift_service.pipeline.live import LivePoses, LiveSessions
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.session import Session
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream
from poselift_service.transport.streams import Stream, Streams

# Of RFC 6455: a WebSocket ends because there is nothing more to say, or because the client goes elsewhere; the protocol
# has ended it over a message that is too large; the server ends it because it stops.
_PROPER_ENDS, _TOO_LARGE, _RESTARTING = (1000, 1001), 1009, 1012
# Any other error closes it with the HTTP status of the error, in the range that is free for everybody.
_PRIVATE_CODES = 4000
# Time in which a client has to take the message that says why its stream ends.
_LAST_MESSAGE_S = 5.0


@dataclass(frozen=True)
class _JsonMessage:
    """Frames as `POST /sessions/{session_id}/frames` takes them, or the end."""

    body: bytes
    reader: LongJson

    @property
    def session_id(self) -> str:
        return ""  # the path has said it

    @property
    def ends(self) -> bool:
        return live_json.says_end(self.body)

    async def frames(self, session: Session) -> tuple[int, NDArray[np.float32]]:
        return await self.reader.read_frames(self.body, session)


class _JsonForm:
    """Messages and answers in JSON."""

    def __init__(self, reader: LongJson) -> None:
        self._reader = reader

    def read_message(self, body: bytes) -> _JsonMessage:
        return _JsonMessage(body, self._reader)

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        return live_json.write_poses(poses, total_s=total_s)


def add_stream(app: FastAPI, live: LiveSessions, streams: Streams, *, metrics: Metrics, deadline_s: float) -> None:
    """Add the stream of a session to the HTTP interface.

    Args:
        deadline_s: time in which a message is answered or fails.
    """
    json = _JsonForm(LongJson(Limits(frames=live.max_frames, tracks=1)))

    @app.websocket("/sessions/{session_id}/stream")
    async def stream_session(websocket: WebSocket, session_id: str) -> None:
        record: RequestRecord = websocket.state.record
        lifting = LiveStream(live, record, metrics, deadline_s=deadline_s, session_id=session_id)
        # Before anything can be refused, because browsers do not show why a WebSocket was not opened.
        await websocket.accept()
        try:
            with streams.admit() as stream, metrics.track_stream(record.transport):
                while not lifting.has_ended:
                    await _answer_next(websocket, stream, lifting, json)
            await websocket.close()
        except WebSocketDisconnect as left:
            record.status = left.code
            if left.code not in _PROPER_ENDS:
                record.code = errors.BodyTooLarge.code if left.code == _TOO_LARGE else "client_left"
        except (PoseliftError, errors.ServiceError) as error:
            await _tell(websocket, record, error)


async def _answer_next(websocket: WebSocket, stream: Stream, lifting: LiveStream, json: _JsonForm) -> None:
    """Read one message and answer it in its own form. Those that come meanwhile stay with the client, or on the way."""
    message = await stream.read(websocket.receive)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    if (text := message.get("text")) is not None:
        answer = await lifting.answer(json, text.encode())
        await stream.write(websocket.send_text(answer.decode()))
    else:
        answer = await lifting.answer(protobuf_live, message["bytes"])
        await stream.write(websocket.send_bytes(answer))


async def _tell(websocket: WebSocket, record: RequestRecord, error: PoseliftError | errors.ServiceError) -> None:
    """Say in a last message why the stream ends, and end it."""
    status, detail = describe_error(error)
    record.code = detail.code
    if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
        detail.retry_after_s = math.ceil(error.retry_after_s)
    code = _RESTARTING if isinstance(error, errors.NotReady) else _PRIVATE_CODES + status
    # Who does not read is not waited for long, and who has gone not at all.
    with contextlib.suppress(TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(_LAST_MESSAGE_S):
            await websocket.send_text(ErrorAnswer(error=detail).model_dump_json(exclude_none=True))
            await websocket.close(code, detail.code)
