"""A replica's copies of the sessions it served last, and how many there may be."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from poselift_service.errors import Overloaded
from poselift_service.sessions.motion import EVERY_FRAMES
from poselift_service.sessions.session import Session
from poselift_service.telemetry.metrics import SessionEvent

# Frames that a client may send ahead without waiting for answers, and resend when those are lost. The frames of one
# message may always be resent, however many they are.
RESENDABLE_FRAMES = 32


@dataclass(frozen=True)
class SessionLimits:
    """How many sessions a replica serves at a time, and how much they may hold.

    Attributes:
        per_caller: most sessions that one API key, or one address without a key, may open; None for no limit.
        frames: most frames that they may keep in total; None for no limit.
        message_frames: most frames in one message, all of which are kept until the next one.
    """

    sessions: int
    per_caller: int | None = None
    frames: int | None = None
    message_frames: int = 256


class _Copy(NamedTuple):
    """A copy, the time at which its session expires in the store if it is not used again, and who opened it here."""

    session: Session
    expires: float
    opened_by: str | None


class SessionCopies:
    """Copies of sessions, ordered by expiry. A session counts with as many frames as it may ever keep."""

    def __init__(
        self,
        limits: SessionLimits,
        *,
        ttl_s: float,
        observe: Callable[[SessionEvent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold no copies yet; for the arguments see `Sessions`."""
        self._limits = limits
        self._ttl_s = ttl_s
        self._observe = observe
        self._clock = clock
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._opened_by: Counter[str] = Counter()
        self._frames = 0

    def __len__(self) -> int:
        return len(self._copies)

    def admit(self, caller: str) -> None:
        """Refuse another session when there are too many.

        Args:
            caller: who opens it.
        Raises:
            Overloaded: the message names the limit.
        """
        self.drop_expired()
        limits, opened = self._limits, self._opened_by[caller]
        if len(self) >= limits.sessions:
            raise self._full("The server serves as many sessions as it may (setting max_sessions).")
        if limits.frames is not None and self._frames >= limits.frames:
            raise self._full("The sessions of the server keep as many frames as they may (setting max_session_frames).")
        if limits.per_caller is not None and opened >= limits.per_caller:
            raise self._full(f"The caller has opened {opened} sessions, the most (setting max_sessions_per_caller).")

    def get(self, session_id: str) -> Session | None:
        """The copy of a session, if there is one that has not expired."""
        self.drop_expired()
        copy = self._copies.get(session_id)
        return None if copy is None else copy.session

    def put(self, session: Session, opened_by: str | None = None) -> Session:
        """Keep the newest state of a session that was used just now; copies that were used longest ago make room."""
        known = self._copies.get(session.session_id)
        if known is None:
            self._frames += self._frames_of(session)
            if opened_by is not None:
                self._opened_by[opened_by] += 1
        else:
            opened_by = known.opened_by
        self._copies[session.session_id] = _Copy(session, self._clock() + self._ttl_s, opened_by)
        self._copies.move_to_end(session.session_id)
        while len(self) > self._limits.sessions:
            self.drop(next(iter(self._copies)))  # the session itself stays in the store
        return session

    def amend(self, session: Session) -> None:
        """Replace the copy of a session by one of the same frames, if there is one."""
        copy = self._copies.get(session.session_id)
        if copy is not None and copy.session.cursor == session.cursor:
            self._copies[session.session_id] = copy._replace(session=session)

    def drop(self, session_id: str) -> bool:
        """Forget a copy. Returns whether there was one."""
        copy = self._copies.pop(session_id, None)
        if copy is None:
            return False
        self._frames -= self._frames_of(copy.session)
        if copy.opened_by is not None:
            self._opened_by[copy.opened_by] -= 1
            if not self._opened_by[copy.opened_by]:
                del self._opened_by[copy.opened_by]
        return True

    def drop_expired(self) -> None:
        """Forget the copies of sessions that have expired."""
        now = self._clock()
        while self._copies and (first := next(iter(self._copies.items())))[1].expires <= now:
            self.drop(first[0])
            self._observe("expired")

    def _frames_of(self, session: Session) -> int:
        sent_again = max(RESENDABLE_FRAMES, self._limits.message_frames)
        return session.window.needed_before + sent_again + (0 if session.opening.world is None else EVERY_FRAMES)

    def _full(self, message: str) -> Overloaded:
        first = next(iter(self._copies.values()), None)
        return Overloaded(retry_after_s=1.0 if first is None else first.expires - self._clock(), message=message)
