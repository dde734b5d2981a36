"""One stream of frames, message by message, whatever format the messages have and whatever they are sent over."""

import time
from typing import Protocol

from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.live import LiveFrames, LiveLifter, LivePoses
from poselift_service.sessions.session import Caller, Session
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.requests import record_message


class StreamMessage(Protocol):
    """A message that a client sends in a stream."""

    @property
    def session_id(self) -> str:
        """The session that it names; empty when it names none."""

    @property
    def is_end_of_stream(self) -> bool:
        """Whether no frames will follow. Otherwise the message has frames."""

    @property
    def next_frame_index(self) -> int | None:
        """How many frames the client has sent, if a message that ends the stream says so."""

    async def frames(self, session: Session) -> LiveFrames:
        """Its frames.

        Raises:
            InvalidRequest: they break the contract; the path names the first field at fault.
        """


class StreamCodec(Protocol):
    """Reads messages of one format, and writes the answers to them."""

    def read_message(self, body: bytes) -> StreamMessage:
        """Parse a message; raises InvalidRequest when it is none."""

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        """The answer to a message."""


class LiveStream:
    """One stream, from its first message to its end."""

    def __init__(
        self, live: LiveLifter, record: RequestRecord, metrics: Metrics, *, deadline_s: float, session_id: str = ""
    ) -> None:
        """Start a stream.

        Args:
            deadline_s: time in which a message is answered or fails.
            session_id: the session of all messages; when empty, the first message names it.
        """
        self._live = live
        self._record = record
        self._caller = Caller(record.key, record.peer)
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._session_id = session_id
        self._session: Session | None = None
        self.has_ended = False
        record.messages = 0

    async def begin(self) -> None:
        """Refuse a session that does not exist before anything about it is read; raises ServiceError."""
        await self._live.find(self._session_id, self._caller, deadline=time.monotonic() + self._deadline_s)

    async def answer(self, codec: StreamCodec, body: bytes) -> bytes:
        """Answer the next message.

        After an error the stream must end. The messages that the client has sent meanwhile would leave a gap; or they
        would push the frames of this message, where these have been stored, out of what may be sent again.

        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        started_s = time.monotonic()
        message = codec.read_message(body)
        self._session_id = self._session_id or message.session_id
        if message.session_id not in ("", self._session_id):
            raise InvalidRequest("All messages of a stream are about one session.", path="session_id")
        deadline = started_s + self._deadline_s
        if message.is_end_of_stream and self._session is None:
            poses = await self._live.end(self._session_id, self._caller, message.next_frame_index, deadline=deadline)
        else:
            session = self._session or await self._live.find(self._session_id, self._caller, deadline=deadline)
            poses = await lift_message(self._live, self._caller, message, session, deadline=deadline)
        self._session, self.has_ended = poses.session, message.is_end_of_stream
        total_s = time.monotonic() - started_s
        record_poses(self._record, self._metrics, poses, total_s=total_s)
        return codec.write_poses(poses, total_s=total_s)


async def lift_message(
    live: LiveLifter, caller: Caller, message: StreamMessage, session: Session, *, deadline: float
) -> LivePoses:
    """Lift the frames of a message, or those that wait at the end of its session.

    Args:
        session: as this replica knows it; at the end, the stored one must have as many frames, or as the message says.
    Raises:
        ServiceError: any of them.
        PoseliftError: the keypoints cannot be used.
    """
    if not message.is_end_of_stream:
        return await live.advance(session, await message.frames(session), deadline=deadline)
    sent = session.next_frame_index if message.next_frame_index is None else message.next_frame_index
    return await live.end(session.session_id, caller, sent, deadline=deadline)


def record_poses(record: RequestRecord, metrics: Metrics, poses: LivePoses, *, total_s: float) -> None:
    """Add the answer to a message to the record of its stream and to the metrics."""
    record_message(
        record,
        metrics,
        model=poses.session.manifest.name,
        frames=len(poses.targets),
        queue_s=poses.queue_s,
        inference_s=poses.inference_s,
        total_s=total_s,
    )
