"""Streams over gRPC, in protobuf."""

import asyncio
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from poselift.client.answers import FrameWorld, InputWarning, Pose, StreamAnswer, StreamWorld
from poselift.client.arrays import FrameList
from poselift.client.conversation import EndMessage, Message
from poselift.client.endpoint import Endpoint
from poselift.client.errors import ApiError, unreachable
from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub

_AXES = 3
_CHANNEL_OPTIONS = (
    # Otherwise a new connection to the same address would wait until the old one has finished waiting.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)
# Without a code of the service, these say that the connection broke, or that nobody is there.
_BROKEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.OK,
)


class GrpcConnection:
    """One call `LiftStream` of a session, over a connection of its own."""

    def __init__(self, channel: grpc.aio.Channel, metadata: dict[str, str], session_id: str, joints: int) -> None:
        self._channel = channel
        self._session_id = session_id
        self._joints = joints
        stub: Any = LiftingServiceStub
        self._call = stub(channel).LiftStream(metadata=tuple(metadata.items()))

    @classmethod
    async def open(cls, endpoint: Endpoint, session_id: str, joints: int) -> Self:
        """Begin a call; whether anybody answers is told by `receive`.

        Args:
            joints: number of joints of the poses.
        """
        return cls(_channel(endpoint), endpoint.headers, session_id, joints)

    async def send(self, message: Message) -> None:
        """Send a message; raises ApiError."""
        try:
            await self._call.write(_request(message, self._session_id))
        except (grpc.RpcError, asyncio.InvalidStateError) as error:  # the latter once the call has ended
            raise await self._error(error) from error

    async def receive(self) -> StreamAnswer:
        """The next answer; raises ApiError."""
        try:
            response = await self._call.read()
        except grpc.RpcError as error:
            raise await self._error(error) from error
        if response is grpc.aio.EOF:
            raise await self._error("the server has ended the call")
        return StreamAnswer(
            [_pose(frame, self._joints) for frame in response.frames],
            [InputWarning(told.code, told.message, told.path or None) for told in response.warnings],
            _common(response.world) if response.HasField("world") else None,
        )

    async def drop(self) -> None:
        """Cancel the call and close the connection."""
        self._call.cancel()
        await self._channel.close()

    async def _error(self, cause: BaseException | str) -> ApiError:
        status, details = await self._call.code(), await self._call.details()
        metadata = dict(await self._call.trailing_metadata() or ())
        if (code := metadata.get("poselift-code")) is None:
            if status in _BROKEN:
                return unreachable(details or cause)
            return ApiError(status.name.lower(), details or str(cause))
        expected, hint = metadata.get("poselift-expected-frame-index"), metadata.get("grpc-retry-pushback-ms")
        return ApiError(
            code,
            details or "",
            path=metadata.get("poselift-path"),
            retry_after_s=None if hint is None else max(0.0, int(hint) / 1000),
            expected_frame_index=None if expected is None else int(expected),
        )


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    assert endpoint.grpc is not None
    if not endpoint.is_encrypted:
        return grpc.aio.insecure_channel(endpoint.grpc, _CHANNEL_OPTIONS)
    certificate, key = endpoint.certificate or (None, None)
    credentials = grpc.ssl_channel_credentials(_bytes(endpoint.ca_file), _bytes(key), _bytes(certificate))
    return grpc.aio.secure_channel(endpoint.grpc, credentials, _CHANNEL_OPTIONS)


def _bytes(file: str | Path | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()


def _request(message: Message, session_id: str) -> pb.LiftStreamRequest:
    if isinstance(message, EndMessage):
        return pb.LiftStreamRequest(session_id=session_id, end=True, next_frame_index=message.next_frame_index)
    time: dict[str, Any] = {} if message.time_s is None else {"time_s": message.time_s}
    frame = pb.Frame(frame_index=message.frame_index, keypoints=_flat(message.keypoints), **time)
    return pb.LiftStreamRequest(session_id=session_id, frames=[frame])


def _flat(keypoints: FrameList) -> list[float]:
    """[J, 3] flat, NaN where a joint is missing; a joint without a score has the best one."""
    missing = [math.nan] * _AXES
    joints = (missing if joint is None else [*joint, 1.0][:_AXES] for joint in keypoints or ())
    return [number for joint in joints for number in joint]


def _pose(frame: pb.LiftedFrame, joints: int) -> Pose:
    imputed = [bool(frame.imputed[joint // 8] >> joint % 8 & 1) for joint in range(joints)]
    return Pose(
        frame.frame_index,
        _rows(frame.joints, _AXES),
        imputed,
        frame.lookahead,
        list(frame.expected_error_m) or None,
        _world(frame.world) if frame.HasField("world") else None,
    )


def _world(world: pb.World) -> FrameWorld:
    rotations, angles = _rows(world.rotations, 4), {angle.name: angle.degrees[0] for angle in world.angles}
    return FrameWorld(
        _rows(world.joints, _AXES), list(world.root), list(world.contacts), rotations or None, angles or None
    )


def _common(world: pb.World) -> StreamWorld:
    gravity, camera = world.gravity, world.camera
    return StreamWorld(
        world.axes,
        world.scale,
        world.height_m,
        {
            "direction": list(gravity.direction),
            "uncertainty_deg": gravity.uncertainty_deg,
            "given": gravity.given,
        },
        {"focal_px": camera.focal_px, "given": camera.given},
    )


def _rows(numbers: Iterable[float], size: int) -> list[list[float]]:
    flat = list(numbers)
    return [flat[start : start + size] for start in range(0, len(flat), size)]
