"""Live sessions in protobuf: the bytes of `poselift.v1` to requests and frames, results to bytes."""

import asyncio
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift.formats.writers.track import AXES
from poselift.pb import lifter_pb2 as pb
from poselift.sequence import MAX_TIMESTAMP_S
from poselift.skeletons import skeleton
from poselift_service.codecs.protobuf.counts import OPENING_LIMITS, live_limits
from poselift_service.codecs.protobuf.fields import (
    add_warnings,
    camera_of,
    check_image_size,
    coordinates_of,
    model_of,
    parse,
    person_of,
    set_floats,
    world_of,
)
from poselift_service.codecs.protobuf.world import fill_world_frames, fill_world_header
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import MAX_INTEGER, FramesPath, check_keypoints
from poselift_service.pipeline.live import LiveFrames, LivePoses
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.session import Opening, Session

# Read before the event loop runs others; these take about a millisecond.
_FRAMES_AT_A_TIME = 128
_FRAMES = FramesPath("frames", ".keypoints")

SessionResponse = TypeVar("SessionResponse", pb.CreateSessionResponse, pb.GetSessionResponse)


def read_opening(body: bytes) -> tuple[Opening, str | None]:
    """Parse and validate a `CreateSessionRequest`.

    Returns:
        How the session is opened, and the model it asks for.
    Raises:
        InvalidRequest: it breaks the contract; the path names the first field at fault.
        UnknownSkeleton: there is no such skeleton.
    """
    message = parse(body, pb.CreateSessionRequest, OPENING_LIMITS)
    source = skeleton(message.skeleton)
    check_image_size(message.image_size)
    model = model_of(message)
    size, coordinates = message.image_size, coordinates_of(message)
    lookahead, fps = _lookahead_of(message), message.fps or None
    known = camera_of(message), person_of(message), world_of(message)
    opening = Opening(source, size.width_px, size.height_px, fps, lookahead, coordinates, message.strict, *known)
    return opening, model


def _lookahead_of(message: pb.CreateSessionRequest) -> int | Literal["full"] | None:
    if not message.HasField("lookahead"):
        return "full" if message.full_lookahead else None
    if message.full_lookahead:
        raise InvalidRequest("Either lookahead or full_lookahead is given, and not both.", path="full_lookahead")
    return message.lookahead


def read_end(body: bytes) -> tuple[str, int | None]:
    """The session that a `DeleteSessionRequest` names, and how many frames its client has sent, if it says so.

    Raises:
        InvalidRequest: the bytes are no such request.
    """
    message = parse(body, pb.DeleteSessionRequest)
    return message.session_id, _next_frame_index(message)


def _next_frame_index(message: pb.LiftStreamRequest | pb.DeleteSessionRequest) -> int | None:
    return message.next_frame_index if message.HasField("next_frame_index") else None


def read_session_id(body: bytes) -> str:
    """The session that a `GetSessionRequest` names.

    Raises:
        InvalidRequest: the bytes are no such request.
    """
    return parse(body, pb.GetSessionRequest).session_id


@dataclass(frozen=True)
class ProtobufStreamMessage:
    """A `LiftStreamRequest`."""

    message: pb.LiftStreamRequest

    @property
    def session_id(self) -> str:
        """The session that it names; empty when it names none."""
        return self.message.session_id

    @property
    def is_end_of_stream(self) -> bool:
        """Whether no frames will follow."""
        return self.message.end

    @property
    def next_frame_index(self) -> int | None:
        """How many frames the client has sent, if it says so."""
        return _next_frame_index(self.message)

    async def frames(self, session: Session) -> LiveFrames:
        """The frames, with NaN where a number is missing.

        Raises:
            InvalidRequest: they break the contract; the path names the first field at fault.
        """
        source, frames = session.opening.source, self.message.frames
        numbers = 3 * source.n_joints
        keypoints = np.empty((len(frames), numbers), np.float32)
        for number, frame in enumerate(frames):
            values = frame.keypoints[:]  # NumPy takes a list in half the time
            if len(values) == numbers:
                keypoints[number] = values
            elif not values:
                keypoints[number] = np.nan
            else:
                raise InvalidRequest(
                    f"A frame of {source.name} has {source.n_joints} joints of 3 numbers, not {len(values)} numbers.",
                    path=_FRAMES.frame(number),
                )
            if number % _FRAMES_AT_A_TIME == _FRAMES_AT_A_TIME - 1:
                await asyncio.sleep(0)
        shaped = keypoints.reshape(-1, source.n_joints, 3)
        await run_off_loop_if_long(joints_in(shaped), check_keypoints, shaped, _FRAMES)
        return LiveFrames(frames[0].frame_index, shaped, self._times(), _FRAMES)

    def _times(self) -> NDArray[np.float64] | None:
        frames = self.message.frames
        if not any(frame.HasField("time_s") for frame in frames):
            return None
        for number, frame in enumerate(frames):
            if not (frame.HasField("time_s") and abs(frame.time_s) <= MAX_TIMESTAMP_S):
                raise InvalidRequest(
                    f"Every frame needs its time in seconds, within {MAX_TIMESTAMP_S:g}, if one has it.",
                    path=f"frames[{number}].time_s",
                )
        return np.array([frame.time_s for frame in frames], np.float64)


class ProtobufStreamCodec:
    """Reads the messages of a stream from protobuf, and writes the answers to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = live_limits(limits)

    def read_message(self, body: bytes) -> ProtobufStreamMessage:
        """Parse a message, and check what needs no session.

        Raises:
            InvalidRequest: it breaks the contract; the path names the first field at fault.
        """
        return _checked(parse(body, pb.LiftStreamRequest, self._limits))

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        """The `LiftStreamResponse`."""
        answer = pb.LiftStreamResponse()
        _fill(answer, poses, total_s)
        return answer.SerializeToString()


class ProtobufSharedCodec:
    """Reads messages about several sessions from protobuf, and writes the answers to them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = live_limits(limits)

    def read_messages(self, body: bytes) -> list[ProtobufStreamMessage]:
        """Parse a `LiftStreamsRequest`, and check what needs no session.

        Raises:
            InvalidRequest: it breaks the contract; the path names the first field at fault.
        """
        parts = parse(body, pb.LiftStreamsRequest, self._limits).sessions
        limit = self._limits["sessions"]
        if not 0 < len(parts) <= limit.most:
            raise InvalidRequest(limit.refusal if parts else "The message is about no session.", path="sessions")
        limit = self._limits["frames"]  # those of short messages have not been counted
        if sum(len(part.frames) for part in parts) > limit.most:
            raise InvalidRequest(limit.refusal, path="sessions")
        return [_checked(part, f"sessions[{number}].") for number, part in enumerate(parts)]

    def write_answers(self, answers: Items[LivePoses], *, total_s: float) -> bytes:
        """The `LiftStreamsResponse`."""
        answer = pb.LiftStreamsResponse()
        for poses in answers:
            _fill(answer.sessions.add(session_id=poses.session.session_id), poses, total_s)
        return answer.SerializeToString()


def _checked(message: pb.LiftStreamRequest, path: str = "") -> ProtobufStreamMessage:
    if bool(message.frames) == message.end:
        raise InvalidRequest("A message has frames, or says that the stream ends, and not both.", path=f"{path}frames")
    if message.HasField("next_frame_index") and not message.end:
        raise InvalidRequest("Only the message that ends the stream has it.", path=f"{path}next_frame_index")
    expected = message.frames[0].frame_index if message.frames else 0
    for number, frame in enumerate(message.frames):
        if frame.frame_index != expected or expected > MAX_INTEGER:
            raise InvalidRequest(
                "The indices of frames lie in [0, 2^53 - 1] and follow one another.",
                path=f"{path}frames[{number}].frame_index",
            )
        expected += 1
    return ProtobufStreamMessage(message)


def write_session(session: Session, kind: type[SessionResponse], *, expires_in_s: float) -> bytes:
    """The answer that describes a session."""
    manifest, opening = session.manifest, session.opening
    described = pb.Session(
        session_id=session.session_id,
        model=pb.ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        skeleton=opening.source.name,
        image_size=pb.ImageSize(width_px=opening.width_px, height_px=opening.height_px),
        fps=opening.fps or 0,
        lookahead=session.window.lookahead or 0,
        next_frame_index=session.next_frame_index,
        expires_in_s=expires_in_s,
        joint_names=manifest.target.joint_names,
        output_skeleton=manifest.target.name,
        unit="m",
        axes=AXES,
        full_lookahead=session.window.full_lookahead or 0,
        full_lookahead_s=session.full_lookahead_s,
        is_full_lookahead=session.window.lookahead == session.window.full_lookahead,
    )
    return kind(session=described).SerializeToString()


def write_last_poses(poses: LivePoses, *, total_s: float) -> bytes:
    """The `DeleteSessionResponse`."""
    answer = pb.DeleteSessionResponse()
    _fill(answer, poses, total_s)
    return answer.SerializeToString()


def _fill(answer: pb.LiftStreamResponse | pb.DeleteSessionResponse, poses: LivePoses, total_s: float) -> None:
    """Add poses to an answer."""
    answer.next_frame_index = poses.session.next_frame_index
    timing_ms = answer.timing_ms
    timing_ms.queue, timing_ms.inference, timing_ms.total = (
        1000 * seconds for seconds in (poses.queue_s, poses.inference_s, total_s)
    )
    add_warnings(answer, poses.warnings)
    lifted = poses.lifted
    flags = np.packbits(lifted.imputed, axis=1, bitorder="little")
    for target, seen, joints, imputed in zip(poses.targets, poses.future_frames, lifted.joints, flags, strict=True):
        frame = answer.frames.add(frame_index=target, lookahead=seen, imputed=imputed.tobytes())
        set_floats(frame, pb.LiftedFrame.JOINTS_FIELD_NUMBER, joints)
    if lifted.expected_error_m is not None:
        for frame, expected_error_m in zip(answer.frames, lifted.expected_error_m, strict=True):
            set_floats(frame, pb.LiftedFrame.EXPECTED_ERROR_M_FIELD_NUMBER, expected_error_m)
    if poses.world is not None:
        fill_world_header(answer.world, poses.world)
        for row, frame in enumerate(answer.frames):
            fill_world_frames(frame.world, poses.world, slice(row, row + 1))
