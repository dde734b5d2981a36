"""Clients of streams over gRPC and WebSocket, with the same methods and outcomes."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import pytest
from poselift_service.sessions.session import Opening
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import skeleton

TIMEOUT_S = 60.0
OPENING = Opening(skeleton("h36m17"), 200, 100, fps=50, lookahead=0)
TRANSPORTS = ("grpc", "websocket")
# By code: the gRPC status, and what a WebSocket is closed with.
STATUSES = {
    "invalid_request": ("INVALID_ARGUMENT", 4422),
    "unknown_session": ("NOT_FOUND", 4404),
    "session_conflict": ("ABORTED", 4409),
    "session_store_down": ("UNAVAILABLE", 4503),
    "overloaded": ("RESOURCE_EXHAUSTED", 4429),
    "stream_idle": ("DEADLINE_EXCEEDED", 4408),
    "deadline_exceeded": ("DEADLINE_EXCEEDED", 4504),
    "body_too_large": ("RESOURCE_EXHAUSTED", 1009),
    "not_ready": ("UNAVAILABLE", 1012),
    "engine_failed": ("INTERNAL", 4500),
}


@dataclass(frozen=True)
class StreamEnded(Exception):
    """What a stream ended with; the status has been checked against the code."""

    code: str
    message: str
    path: str | None
    expected_frame_index: int | None
    retry_after_s: float | None


class StreamClient(Protocol):
    """The client's end of a stream."""

    async def send(self, first: int, count: int = 1) -> None:
        """Send frames from an index on."""

    async def end(self) -> None:
        """Say that no more will follow."""

    async def receive(self) -> list[int]:
        """The frames that the next answer brings poses of; raises StreamEnded."""

    async def ended_without_error(self) -> bool:
        """Wait for the end of a stream that ends without an error."""

    async def disconnect(self) -> None:
        """Hang up."""


def message(first: int, count: int) -> pb.LiftStreamRequest:
    frames = [pb.Frame(frame_index=index, keypoints=[1.0] * 51) for index in range(first, first + count)]
    return pb.LiftStreamRequest(frames=frames)


class GrpcStreamClient:
    def __init__(self, call: Any, session_id: str) -> None:
        self._call = call
        self._session_id = session_id

    async def send(self, first: int, count: int = 1) -> None:
        sent = message(first, count)
        sent.session_id = self._session_id
        await self._call.write(sent)

    async def end(self) -> None:
        await self._call.write(pb.LiftStreamRequest(session_id=self._session_id, end=True))

    async def receive(self) -> list[int]:
        try:
            answer = await asyncio.wait_for(self._call.read(), TIMEOUT_S)
        except grpc.aio.AioRpcError as failed:
            raise self._ended(failed) from None
        assert answer is not grpc.aio.EOF
        return [frame.frame_index for frame in answer.frames]

    async def ended_without_error(self) -> bool:
        return bool(await self._call.read() is grpc.aio.EOF and await self._call.code() is grpc.StatusCode.OK)

    async def disconnect(self) -> None:
        self._call.cancel()

    def _ended(self, failed: grpc.aio.AioRpcError) -> StreamEnded:
        told = {name: str(value) for name, value in failed.trailing_metadata() or ()}
        assert failed.code().name == STATUSES[told["poselift-code"]][0]
        expected, hint = told.get("poselift-expected-frame-index"), told.get("grpc-retry-pushback-ms")
        return StreamEnded(
            told["poselift-code"],
            str(failed.details()),
            told.get("poselift-path"),
            None if expected is None else int(expected),
            None if hint is None else int(hint) / 1000,
        )


class WebSocketStreamClient:
    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    async def send(self, first: int, count: int = 1) -> None:
        keypoints = [[[1.0, 1.0, 1.0]] * 17] * count
        await self._websocket.send(json.dumps({"frame_index": first, "keypoints": keypoints}))

    async def end(self) -> None:
        await self._websocket.send('{"end": true}')

    async def receive(self) -> list[int]:
        answer = json.loads(await asyncio.wait_for(self._websocket.recv(), TIMEOUT_S))
        if "error" in answer:
            raise await self._ended(answer["error"])
        return [frame["frame_index"] for frame in answer["frames"]]

    async def ended_without_error(self) -> bool:
        with pytest.raises(ConnectionClosed) as closed:
            await self._websocket.recv()
        return closed.value.rcvd is not None and closed.value.rcvd.code == 1000

    async def disconnect(self) -> None:
        self._websocket.transport.abort()

    async def _ended(self, error: Any) -> StreamEnded:
        with pytest.raises(ConnectionClosed) as closed:
            await self._websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == STATUSES[error["code"]][1]
        assert closed.value.rcvd.reason == error["code"]
        named = ("code", "message", "path", "expected_frame_index", "retry_after_s")
        return StreamEnded(*(error.get(name) for name in named))
