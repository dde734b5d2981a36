"""Live sessions in protobuf: the bytes of `poselift.v1` to requests and frames, results to bytes."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift.formats.writers.track import AXES
from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import skeleton
from poselift_service.codecs.protobuf.counts import live_limits
from poselift_service.codecs.protobuf.fields import (
    add_warnings,
    check_image_size,
    coordinates_of,
    model_of,
    parse,
    set_floats,
)
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import MAX_INTEGER, FramesPath, check_keypoints
from poselift_service.pipeline.live import LivePoses
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
    message = parse(body, pb.CreateSessionRequest)
    source = skeleton(message.skeleton)
    check_image_size(message.image_size)
    model = model_of(message)
    lookahead = message.lookahead if message.HasField("lookahead") else None
    size, coordinates = message.image_size, coordinates_of(message)
    opening = Opening(source, size.width_px, size.height_px, message.fps, lookahead, coordinates, message.strict)
    return opening, model


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

    @property
    def frames_path(self) -> FramesPath:
        """Where the message has its frames."""
        return _FRAMES

    async def frames(self, session: Session) -> tuple[int, NDArray[np.float32]]:
        """Index of the first frame, and keypoints [F, J, 3], NaN where a number is missing.

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
        return frames[0].frame_index, shaped


class ProtobufStreamCodec:
    """Reads the messages of a stream from protobuf, and writes the answers to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = live_limits(limits)

    def read_message(self, body: bytes) -> ProtobufStreamMessage:
        """Parse a message, and check what needs no session.

        Raises:
            InvalidRequest: it breaks the contract; the path names the first field at fault.
        """
        message = parse(body, pb.LiftStreamRequest, self._limits)
        if bool(message.frames) == message.end:
            raise InvalidRequest("A message has frames, or says that the stream ends, and not both.", path="frames")
        if message.HasField("next_frame_index") and not message.end:
            raise InvalidRequest("Only the message that ends the stream has it.", path="next_frame_index")
        expected = message.frames[0].frame_index if message.frames else 0
        for number, frame in enumerate(message.frames):
            if frame.frame_index != expected or expected > MAX_INTEGER:
                raise InvalidRequest(
                    "The indices of frames lie in [0, 2^53 - 1] and follow one another.",
                    path=f"frames[{number}].frame_index",
                )
            expected += 1
        return ProtobufStreamMessage(message)

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        """The `LiftStreamResponse`."""
        return _fill(pb.LiftStreamResponse(), poses, total_s)


def write_session(session: Session, kind: type[SessionResponse], *, expires_in_s: float) -> bytes:
    """The answer that describes a session."""
    manifest, opening = session.manifest, session.opening
    described = pb.Session(
        session_id=session.session_id,
        model=pb.ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        skeleton=opening.source.name,
        image_size=pb.ImageSize(width_px=opening.width_px, height_px=opening.height_px),
        fps=opening.fps,
        lookahead=session.window.lookahead,
        next_frame_index=session.next_frame_index,
        expires_in_s=expires_in_s,
        joint_names=manifest.target.joint_names,
        output_skeleton=manifest.target.name,
        unit="m",
        axes=AXES,
        full_lookahead=session.window.full_lookahead,
    )
    return kind(session=described).SerializeToString()


def write_last_poses(poses: LivePoses, *, total_s: float) -> bytes:
    """The `DeleteSessionResponse`."""
    return _fill(pb.DeleteSessionResponse(), poses, total_s)


def _fill(answer: pb.LiftStreamResponse | pb.DeleteSessionResponse, poses: LivePoses, total_s: float) -> bytes:
    """Add poses to an answer and serialize it."""
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
    return answer.SerializeToString()
