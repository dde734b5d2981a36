"""The store in memory, compared with the sequential model call by call."""

from collections.abc import Callable

from poselift_service.errors import SessionConflict, UnknownSession
from poselift_service.sessions.memory_store import ENDED_RETENTION_S, MemoryStore
from poselift_service.sessions.store import STAMP_BYTES, Append, ReplicaCursor, StoreReply

from tests.simulation.sequential_store import SequentialStore
from tests.simulation.violation import require


class CheckedMemoryStore(MemoryStore):
    def __init__(self, model: SequentialStore, *, ttl_s: float, clock: Callable[[], float]) -> None:
        super().__init__(ttl_s=ttl_s, clock=clock)
        self._model = model
        self._time_to_live_s = ttl_s
        self._now = clock

    async def open(self, session_id: str, opening: bytes) -> None:
        self._model.open(session_id, opening, self._time_to_live_s, self._now())
        await super().open(session_id, opening)

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        expected = self._model.advance(
            session_id, append, cursor, include_ended=include_ended, ttl_s=self._time_to_live_s, now_s=self._now()
        )
        try:
            reply = await super().advance(session_id, append, cursor=cursor, include_ended=include_ended)
        except UnknownSession:
            require(expected == (b"unknown",), "a session was unknown", expected)
            raise
        except SessionConflict as conflict:
            require(expected == (b"conflict", conflict.expected_frame_index), "a conflict", expected, conflict)
            raise
        outcome, opening, kept_first, first, entries, ended = expected
        lacking = [entry[STAMP_BYTES:] for entry in entries]  # type: ignore[attr-defined]
        given = reply.outcome.value, reply.opening, reply.kept_first, reply.first, list(reply.frames), reply.has_ended
        require(given == (outcome, opening, kept_first, first, lacking, ended), "another reply", given, expected)
        return reply

    async def close_session(self, session_id: str) -> None:
        self._model.end(session_id, min(ENDED_RETENTION_S, self._time_to_live_s), self._now())
        await super().close_session(session_id)
