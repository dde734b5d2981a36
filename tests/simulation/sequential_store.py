"""The sequential model of a session store: what each operation does to a session, one after another.

It decides what is right. `MemoryStore` is compared with it call by call. The simulated Redis executes it in place of
the Lua scripts, and tests/integration/test_simulated_redis.py compares it with them on a real redis-server. All states
that a session ever had are kept, so that an answer can be compared with those that it may be about.
"""

from collections.abc import Sequence as Items
from typing import NamedTuple

from poselift_service.sessions.store import STAMP_BYTES, Append, ReplicaCursor


class State(NamedTuple):
    """A session at one moment.

    Attributes:
        entries: stamp and frame of all frames since the first one.
        kept_first: index of the oldest that is still stored.
        expires_s: time at which it is forgotten.
    """

    opening: bytes
    entries: tuple[bytes, ...]
    kept_first: int
    ended: bool
    expires_s: float

    @property
    def next_index(self) -> int:
        return len(self.entries)

    def is_readable(self, now_s: float, *, include_ended: bool) -> bool:
        return now_s < self.expires_s and (include_ended or not self.ended)

    def rejects_position(self, first: int, needed_before: int) -> bool:
        return first > len(self.entries) or max(0, first - needed_before) < self.kept_first

    def differs_from(self, first: int, frames: Items[bytes]) -> bool:
        """Whether frames differ from the stored ones at their indices."""
        stored = self.entries[first : first + len(frames)]
        return any(entry[STAMP_BYTES:] != frame for entry, frame in zip(stored, frames, strict=False))

    def diverges_from(self, cursor: ReplicaCursor) -> bool:
        if cursor.stop <= self.kept_first:
            return False
        return cursor.stop > len(self.entries) or self.entries[cursor.stop - 1][:STAMP_BYTES] != cursor.stamp


class _Change(NamedTuple):
    """A change of a session.

    Attributes:
        durable_s: time from which a failover no longer loses it.
    """

    step: int
    session_id: str
    state: State | None
    durable_s: float


UNKNOWN: Items[object] = (b"unknown",)


class SequentialStore:
    """Executes operations one after another; each reply is that of the Lua script."""

    def __init__(self) -> None:
        self.step = 0
        self.rewinds = 0
        self._states: dict[str, State | None] = {}
        self._changes: list[_Change] = []

    def open(self, session_id: str, opening: bytes, ttl_s: float, now_s: float, lag_s: float = 0.0) -> None:
        state = self._states.get(session_id)
        if state is not None and state.is_readable(now_s, include_ended=True):
            return
        self._change(session_id, State(opening, (), 0, False, now_s + ttl_s), now_s + lag_s)

    def advance(
        self,
        session_id: str,
        append: Append | None,
        cursor: ReplicaCursor,
        *,
        include_ended: bool,
        ttl_s: float,
        now_s: float,
        lag_s: float = 0.0,
    ) -> Items[object]:
        state = self._states.get(session_id)
        if state is None or not state.is_readable(now_s, include_ended=include_ended):
            return UNKNOWN
        frames = append.frames if append else ()
        if state.ended and append and frames and append.first + len(frames) > state.next_index:
            return UNKNOWN
        if append and frames and state.rejects_position(append.first, append.needed_before):
            return b"conflict", state.next_index
        diverged = state.diverges_from(cursor)
        index = state.kept_first if diverged else max(cursor.stop, state.kept_first)
        lacking, outcome = list(state.entries[index:]), b"diverged" if diverged else b"unchanged"
        if append and frames and not diverged:
            if state.differs_from(append.first, frames):
                return b"conflict", state.next_index
            if new := frames[state.next_index - append.first :]:
                outcome, state = b"appended", _appended(state, append, new)
        if not state.ended:
            self._change(session_id, state._replace(expires_s=now_s + ttl_s), now_s + lag_s)
        return outcome, state.opening, state.kept_first, index, lacking, int(state.ended)

    def end(self, session_id: str, retention_s: float, now_s: float, lag_s: float = 0.0) -> None:
        state = self._states.get(session_id)
        if state is not None and now_s < state.expires_s:
            self._change(session_id, state._replace(ended=True, expires_s=now_s + retention_s), now_s + lag_s)

    def evict(self, session_id: str, now_s: float) -> None:
        """Lose a session, or one of its keys, which is the same."""
        self._change(session_id, None, now_s)

    def rewind(self, now_s: float) -> None:
        """Lose the newest changes, those that are not durable yet, as a failover does."""
        durable = next((n for n, change in enumerate(self._changes) if change.durable_s > now_s), len(self._changes))
        lost = dict.fromkeys(change.session_id for change in self._changes[durable:])
        self.rewinds += bool(lost)
        for session_id in lost:
            kept = [change.state for change in self._changes[:durable] if change.session_id == session_id]
            self._change(session_id, kept[-1] if kept else None, now_s)

    def state(self, session_id: str) -> State | None:
        """The session as it is now."""
        return self._states.get(session_id)

    def states_since(self, session_id: str, step: int) -> list[State | None]:
        """The state at a step, and all later ones."""
        changes = [change for change in self._changes if change.session_id == session_id]
        before = [change.state for change in changes if change.step <= step]
        return [before[-1] if before else None, *(change.state for change in changes if change.step > step)]

    def _change(self, session_id: str, state: State | None, durable_s: float) -> None:
        self.step += 1
        self._states[session_id] = state
        self._changes.append(_Change(self.step, session_id, state, durable_s))


def _appended(state: State, append: Append, new: Items[bytes]) -> State:
    kept_first = max(state.kept_first, append.first - append.kept_before)
    entries = (*state.entries, *(append.stamp + frame for frame in new))
    return state._replace(entries=entries, kept_first=kept_first)
