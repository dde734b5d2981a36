"""One stream about several sessions, such as those of all people before a camera."""

import asyncio
import time
from collections.abc import Sequence as Items
from typing import Protocol

from poselift.errors import PoseliftError
from poselift_service.errors import InvalidRequest, ServiceError
from poselift_service.pipeline.live import LiveLifter, LivePoses
from poselift_service.sessions.session import Caller
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import StreamMessage, lift_message, record_poses


class SharedStreamCodec(Protocol):
    """Reads messages about several sessions in one format, and writes the answers to them."""

    def read_messages(self, body: bytes) -> Items[StreamMessage]:
        """The parts of a message, each about one session, which it names.

        Raises:
            InvalidRequest: the message breaks the contract.
        """

    def write_answers(self, answers: Items[LivePoses], *, total_s: float) -> bytes:
        """The answer to a message, with one part for each of its parts, in order."""


class SharedStream:
    """One stream about several sessions, from its first message to its end. The sessions do not end with it."""

    def __init__(self, live: LiveLifter, record: RequestRecord, metrics: Metrics, *, deadline_s: float) -> None:
        """Start a stream; for the arguments see `LiveStream`."""
        self._live = live
        self._record = record
        self._caller = Caller(record.key, record.peer)
        self._metrics = metrics
        self._deadline_s = deadline_s
        record.messages = 0

    async def answer(self, codec: SharedStreamCodec, body: bytes) -> bytes:
        """Answer the next message: its people are lifted together.

        After an error the stream must end, as a `LiveStream`; the path of the error begins with the part at fault. The
        frames of the other parts may have been stored, and are answered when the message is sent again.

        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        started_s = time.monotonic()
        messages = codec.read_messages(body)
        _check_sessions(messages)
        lifting = (self._lift(message, started_s + self._deadline_s) for message in messages)
        answers = []
        for number, outcome in enumerate(await asyncio.gather(*lifting, return_exceptions=True)):
            if isinstance(outcome, PoseliftError | ServiceError):
                outcome.path = f"sessions[{number}].{outcome.path}" if outcome.path else f"sessions[{number}]"
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(outcome)
        total_s = time.monotonic() - started_s
        for poses in answers:
            record_poses(self._record, self._metrics, poses, total_s=total_s)
        return codec.write_answers(answers, total_s=total_s)

    async def _lift(self, message: StreamMessage, deadline: float) -> LivePoses:
        session = await self._live.find(message.session_id, self._caller, deadline=deadline)
        return await lift_message(self._live, self._caller, message, session, deadline=deadline)


def _check_sessions(messages: Items[StreamMessage]) -> None:
    """Refuse parts that name no session, or the session of another part."""
    seen: set[str] = set()
    for number, message in enumerate(messages):
        if message.session_id in seen or not message.session_id:
            raise InvalidRequest(
                "Each part of a message names a session of its own.", path=f"sessions[{number}].session_id"
            )
        seen.add(message.session_id)
