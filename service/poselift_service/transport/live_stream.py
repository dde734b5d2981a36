"""The messages of one stream of frames, answered one after another, whatever they are written in and come over."""

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.live import LivePoses, LiveSessions
from poselift_service.sessions.session import Session
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.requests import record_message


class Message(Protocol):
    """What a client says in a stream."""

    @property
    def session_id(self) -> str:
        """The session that it is about; empty when it does not say."""

    @property
    def ends(self) -> bool:
        """No frames will follow, ever. Otherwise it has some."""

    async def frames(self, session: Session) -> tuple[int, NDArray[np.float32]]:
        """Index of the first frame, and keypoints [F, J, 3], x and y NaN where missing.

        Raises:
            InvalidRequest: they are not what the contract says; the path names the first field at fault.
        """


class Form(Protocol):
    """A way to write messages and their answers down."""

    def read_message(self, body: bytes) -> Message:
        """Raises InvalidRequest when it is none."""

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes: ...


class LiveStream:
    """One stream, from its first message to its end."""

    def __init__(
        self, live: LiveSessions, record: RequestRecord, metrics: Metrics, *, deadline_s: float, session_id: str = ""
    ) -> None:
        """Args:
        deadline_s: time in which a message is answered or fails.
        session_id: the session that all messages are about; when empty, the first of them says it.
        """
        self._live = live
        self._record = record
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._session_id = session_id
        self._session: Session | None = None
        self.has_ended = False
        record.messages = 0

    async def answer(self, form: Form, body: bytes) -> bytes:
        """Answer the next message.

        After an error the stream must end: what the client has sent meanwhile would leave a gap, or, where the frames
        of this message have been kept, put it out of reach of being sent again.

        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        started_s = time.monotonic()
        message = form.read_message(body)
        self._session_id = self._session_id or message.session_id
        if message.session_id not in ("", self._session_id):
            raise InvalidRequest("All messages of a stream are about one session.", path="session_id")
        poses = await self._lift(message, started_s + self._deadline_s)
        self._session, self.has_ended = poses.session, message.ends
        total_s = time.monotonic() - started_s
        record_message(
            self._record,
            self._metrics,
            model=poses.session.manifest.name,
            frames=len(poses.targets),
            queue_s=poses.queue_s,
            inference_s=poses.inference_s,
            total_s=total_s,
        )
        return form.write_poses(poses, total_s=total_s)

    async def _lift(self, message: Message, deadline: float) -> LivePoses:
        if message.ends:
            return await self._live.end(self._session_id, deadline=deadline)
        session = self._session or await self._live.find(self._session_id)
        first, keypoints = await message.frames(session)
        return await self._live.advance(session, first, keypoints, deadline=deadline)
