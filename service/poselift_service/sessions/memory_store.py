"""A session store in the memory of this process, for a server without Redis."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from poselift_service.errors import SessionConflict, UnknownSession
from poselift_service.sessions.frame_order import refuse_out_of_order
from poselift_service.sessions.store import (
    STAMP_BYTES,
    Append,
    MotionStates,
    Outcome,
    ReplicaCursor,
    StoreReply,
    make_reply,
)

# How long an ended session stays readable, so that a lost answer to its end can be repeated. Ended sessions are not
# counted among those that a server may have, so it is short.
ENDED_RETENTION_S = 10.0


@dataclass
class _MemorySession:
    """A stored session.

    Attributes:
        first: frame index of the first entry.
        entries: stamp and frame of each kept frame, oldest first.
        motion: states of its motion in the world, each after all frames before an index.
    """

    opening: bytes
    expires: float
    first: int
    entries: list[bytes]
    motion: dict[int, bytes] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.first + len(self.entries)

    def diverges_from(self, cursor: ReplicaCursor) -> bool:
        if cursor.stop <= self.first:
            return False
        return cursor.stop > self.stop or self.entries[cursor.stop - 1 - self.first][:STAMP_BYTES] != cursor.stamp

    def conflicts_with(self, append: Append) -> bool:
        stored = [entry[STAMP_BYTES:] for entry in self.entries[append.first - self.first :]]
        overlap = min(len(stored), len(append.frames))
        return stored[:overlap] != list(append.frames[:overlap])

    def append(self, append: Append) -> bool:
        """Append the frames that are new and drop those that are no longer kept. Returns whether any was new."""
        new = append.frames[self.stop - append.first :]
        if new:
            self.entries += [append.stamp + frame for frame in new]
            dropped = max(0, append.first - append.kept_before - self.first)
            del self.entries[:dropped]
            self.first += dropped
        return bool(new)

    def keep(self, motion: MotionStates) -> None:
        self.motion = {index: state for index, state in self.motion.items() if not motion.replaces(index)}
        self.motion.update(motion.states)


class MemoryStore:
    """Keeps sessions in this process, under the same rules as the Lua scripts in `redis_scripts`."""

    def __init__(self, *, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        # Ordered by expiry: each use moves a session to the end.
        self._sessions: OrderedDict[str, _MemorySession] = OrderedDict()
        self._ended: OrderedDict[str, _MemorySession] = OrderedDict()

    async def open(self, session_id: str, opening: bytes) -> None:
        self._remove_expired()
        if session_id in self._sessions or session_id in self._ended:
            return
        self._sessions[session_id] = _MemorySession(opening, self._clock() + self._ttl_s, 0, [])

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        self._remove_expired()
        ended = self._ended.get(session_id) if include_ended else None
        session = ended or self._sessions.get(session_id)
        if session is None or (ended and append and append.first + len(append.frames) > ended.stop):
            raise UnknownSession
        if append is not None:
            refuse_out_of_order(append, kept_first=session.first, next_index=session.stop)
        outcome = Outcome.DIVERGED if session.diverges_from(cursor) else Outcome.UNCHANGED
        first = session.first if outcome is Outcome.DIVERGED else max(cursor.stop, session.first)
        entries = session.entries[first - session.first :]
        if append is not None and outcome is Outcome.UNCHANGED:
            if session.conflicts_with(append):
                raise SessionConflict(session.stop)
            if session.append(append):
                outcome = Outcome.APPENDED
        if ended is None:
            session.expires = self._clock() + self._ttl_s
            self._sessions.move_to_end(session_id)
        has_ended = ended is not None
        return make_reply(outcome, session.opening, session.first, first, entries, cursor, append, has_ended=has_ended)

    async def keep_motion(self, session_id: str, motion: MotionStates, *, cursor: ReplicaCursor) -> None:
        self._remove_expired()
        session = self._ended.get(session_id) or self._sessions.get(session_id)
        if session is not None and cursor.stop > session.first and not session.diverges_from(cursor):
            session.keep(motion)

    async def read_motion(self, session_id: str) -> Mapping[int, bytes]:
        self._remove_expired()
        session = self._ended.get(session_id) or self._sessions.get(session_id)
        return {} if session is None else dict(session.motion)

    async def is_shared(self, session_id: str) -> bool:
        return False

    async def close_session(self, session_id: str) -> None:
        self._remove_expired()
        session = self._sessions.pop(session_id, None) or self._ended.pop(session_id, None)
        if session is not None:
            session.expires = self._clock() + min(ENDED_RETENTION_S, self._ttl_s)
            self._ended[session_id] = session

    async def close(self) -> None:
        self._sessions.clear()
        self._ended.clear()

    def _remove_expired(self) -> None:
        now = self._clock()
        for sessions in (self._sessions, self._ended):
            while sessions and next(iter(sessions.values())).expires <= now:
                sessions.popitem(last=False)
