"""Where the frames of sessions are kept: in this process, or in a Redis that replicas share. The rules are the same."""

import asyncio
import enum
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from poselift_service.errors import SessionConflict, SessionStoreDown, UnknownSession
from poselift_service.sessions.redis_scripts import FAILURES, Script, connect

# Of a stamp: so many that no two are ever the same.
STAMP_BYTES = 8
_COMPLAIN_EVERY_S = 10.0
# Time in which the end of a session may be asked for again.
_ENDED_KEPT_S = 10.0

logger = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """Frames that are to be appended to a session.

    Attributes:
        first: frame index of the first one.
        frames: one or more, each as bytes; the same frame is always the same bytes.
        stamp: what to stamp them with: `STAMP_BYTES` that no other arrival has.
        needed_before: frames before `first` that are needed to lift what these complete.
        kept_before: frames before `first` that must be kept, to do so again and for those that may be sent again.
    """

    first: int
    frames: Items[bytes]
    stamp: bytes
    needed_before: int
    kept_before: int


class Held(NamedTuple):
    """What a replica has of a session already: all kept frames before an index.

    Attributes:
        stop: that index.
        stamp: of the last one before it.
    """

    stop: int
    stamp: bytes


NOTHING = Held(0, b"")


class Outcome(enum.Enum):
    """What became of the frames of a request; the values are the words of the script."""

    APPENDED = b"appended"
    """There were new ones among them."""

    KEPT = b"kept"
    """There were none."""

    DIVERGED = b"diverged"
    """The replica holds other frames than there are. It is told all of them, and nothing was appended."""


class Stored(NamedTuple):
    """What a store answers.

    Attributes:
        opened: what the session was opened with.
        kept_first: frame index of the oldest frame that is still kept.
        first: frame index of the first of `frames`.
        frames: those that the replica lacks, without the ones that it appended just now.
        stamp: of the newest frame that there is now.
    """

    outcome: Outcome
    opened: bytes
    kept_first: int
    first: int
    frames: Items[bytes]
    stamp: bytes


class SessionStore(Protocol):
    """Where sessions are kept. Each method is one atomic step and renews the session's expiry."""

    async def open(self, session_id: str, opened: bytes) -> None:
        """Begin a session; nothing is left of one that had the same name.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def advance(self, session_id: str, arrival: Arrival | None, *, held: Held, to_end: bool = False) -> Stored:
        """Append those of the frames that are new; None only reads.

        Args:
            held: what the replica has already.
            to_end: also read a session that has ended.
        Raises:
            UnknownSession: there is none, or not any more.
            SessionConflict: the frames leave a gap, begin so early that what they complete could not be lifted again,
                or are not those that there are at their indices; nothing was changed.
            SessionStoreDown: the store cannot be reached, or does not answer in time.
        """

    async def close_session(self, session_id: str) -> None:
        """End a session, if there is one: it is unknown from now on, and soon forgotten.

        Until then it can be read `to_end`, because the answer that told of its end may have been lost.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def close(self) -> None:
        """Let go of the store itself."""


@dataclass
class _Kept:
    """A session in memory; an entry is a frame behind its stamp."""

    opened: bytes
    expires: float
    first: int
    entries: list[bytes]

    @property
    def stop(self) -> int:
        return self.first + len(self.entries)

    def diverges_from(self, held: Held) -> bool:
        if held.stop <= self.first:
            return False
        return held.stop > self.stop or self.entries[held.stop - 1 - self.first][:STAMP_BYTES] != held.stamp

    def has_a_place_for(self, arrival: Arrival) -> bool:
        return self.first <= max(0, arrival.first - arrival.needed_before) and arrival.first <= self.stop

    def has_others_than(self, arrival: Arrival) -> bool:
        there = [entry[STAMP_BYTES:] for entry in self.entries[arrival.first - self.first :]]
        both = min(len(there), len(arrival.frames))
        return there[:both] != list(arrival.frames[:both])

    def append(self, arrival: Arrival) -> bool:
        new = arrival.frames[self.stop - arrival.first :]
        if new:
            self.entries += [arrival.stamp + frame for frame in new]
            dropped = max(0, arrival.first - arrival.kept_before - self.first)
            del self.entries[:dropped]
            self.first += dropped
        return bool(new)


class MemoryStore:
    """Keeps sessions in this process, for a server without Redis. The rules are those of the script below."""

    def __init__(self, *, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        # In the order of their expiry, for each use puts a session at the end.
        self._sessions: OrderedDict[str, _Kept] = OrderedDict()
        self._ended: OrderedDict[str, _Kept] = OrderedDict()

    async def open(self, session_id: str, opened: bytes) -> None:
        self._expire()
        self._ended.pop(session_id, None)
        self._sessions[session_id] = _Kept(opened, self._clock() + self._ttl_s, 0, [])

    async def advance(self, session_id: str, arrival: Arrival | None, *, held: Held, to_end: bool = False) -> Stored:
        self._expire()
        if to_end and (ended := self._ended.get(session_id)) is not None:
            return _stored(Outcome.KEPT, ended.opened, ended.first, ended.first, ended.entries, held, arrival)
        kept = self._sessions.get(session_id)
        if kept is None:
            raise UnknownSession
        if arrival is not None and not kept.has_a_place_for(arrival):
            raise SessionConflict(kept.stop)
        outcome = Outcome.DIVERGED if kept.diverges_from(held) else Outcome.KEPT
        lacked = kept.first if outcome is Outcome.DIVERGED else max(held.stop, kept.first)
        entries = kept.entries[lacked - kept.first :]
        if arrival is not None and outcome is Outcome.KEPT:
            if kept.has_others_than(arrival):
                raise SessionConflict(kept.stop)
            if kept.append(arrival):
                outcome = Outcome.APPENDED
        kept.expires = self._clock() + self._ttl_s
        self._sessions.move_to_end(session_id)
        return _stored(outcome, kept.opened, kept.first, lacked, entries, held, arrival)

    async def close_session(self, session_id: str) -> None:
        self._expire()
        kept = self._sessions.pop(session_id, None)
        if kept is not None:
            kept.expires = self._clock() + min(_ENDED_KEPT_S, self._ttl_s)
            self._ended[session_id] = kept

    async def close(self) -> None:
        self._sessions.clear()
        self._ended.clear()

    def _expire(self) -> None:
        now = self._clock()
        for sessions in (self._sessions, self._ended):
            while sessions and next(iter(sessions.values())).expires <= now:
                sessions.popitem(last=False)


def _stored(
    outcome: Outcome,
    opened: bytes,
    kept_first: int,
    first: int,
    entries: Items[bytes],
    held: Held,
    arrival: Arrival | None,
) -> Stored:
    """Answer with the entries that a replica lacks."""
    stamp = entries[-1][:STAMP_BYTES] if entries else held.stamp
    if arrival is not None and outcome is Outcome.APPENDED:
        stamp = arrival.stamp
    return Stored(outcome, opened, kept_first, first, [entry[STAMP_BYTES:] for entry in entries], stamp)


# Begins a session.
#
# KEYS[1], KEYS[2]  as below
# ARGV[1]  time to live in milliseconds
# ARGV[2]  what it is opened with
_OPEN = Script("""
-- The first one to write, because it is refused when memory is full, and nothing is after a first write.
redis.call('HSET', KEYS[1], 'opened', ARGV[2], 'first', 0, 'next', 0)
redis.call('HDEL', KEYS[1], 'ended')
redis.call('DEL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
""")

# Advances a session in one atomic step.
#
# KEYS[1]  hash: opened (bytes), first (frame index of the first entry in the list), next (frame index expected next),
#          ended (only when it has)
# KEYS[2]  list of entries, oldest first: the kept frames (bytes), each behind the stamp of what it came with
# ARGV[1]  time to live in milliseconds, counted anew from now
# ARGV[2]  frame index of the first frame that arrives
# ARGV[3]  frames before that one which are needed to lift what the arriving ones complete
# ARGV[4]  frames before that one which must be kept
# ARGV[5]  held: the caller has all kept frames before this index
# ARGV[6]  stamp of the last frame before that index
# ARGV[7]  1 to read also a session that has ended; 0 otherwise
# ARGV[8]  stamp of the frames that arrive
# ARGV[9...]  the frames that arrive; none only reads
#
# Returns {"unknown"} when there is no such session, it has ended, or its frames have been lost; {"conflict", next} when
# the arriving frames leave a gap, begin so early that not all that is needed before them is still there, or differ from
# those that are there already, and then nothing has changed; otherwise {outcome, opened, first, index, entries}:
# `entries`, from `index` on, are those that the caller lacks, without the ones that it has just appended, and the
# outcome is "appended", "kept" when no frame was new, or "diverged". That is when the caller holds other frames than
# there are, because the store has lost its newest ones and others may have taken their place. What arrives may have
# been made from those, so nothing is appended; the caller gets all that there is, and has to begin again with it.
_ADVANCE = Script(
    """
local session = redis.call('HMGET', KEYS[1], 'opened', 'first', 'next', 'ended')
if not session[1] or (session[4] and ARGV[7] ~= '1') then
  return {'unknown'}
end
local kept_first, next_index = tonumber(session[2]), tonumber(session[3])
if redis.call('LLEN', KEYS[2]) ~= next_index - kept_first then
  redis.call('DEL', KEYS[1], KEYS[2])
  return {'unknown'}
end

local first, held, arriving = tonumber(ARGV[2]), tonumber(ARGV[5]), #ARGV - 8
if arriving > 0 and (first > next_index or math.max(0, first - tonumber(ARGV[3])) < kept_first) then
  return {'conflict', next_index}
end

local outcome, lacked = 'kept', math.max(held, kept_first)
if held > kept_first then
  local newest_held = held <= next_index and redis.call('LINDEX', KEYS[2], held - 1 - next_index)
  if not newest_held or string.sub(newest_held, 1, STAMP_BYTES) ~= ARGV[6] then
    outcome, lacked = 'diverged', kept_first
  end
end
local entries = redis.call('LRANGE', KEYS[2], lacked - kept_first, -1)

if arriving > 0 and outcome == 'kept' then
  local there = math.min(next_index - first, arriving)
  if there > 0 then
    for position, entry in ipairs(redis.call('LRANGE', KEYS[2], first - kept_first, first - kept_first + there - 1)) do
      if string.sub(entry, STAMP_BYTES + 1) ~= ARGV[8 + position] then
        return {'conflict', next_index}
      end
    end
  end
  if arriving > there then
    for position = 9 + there, #ARGV do
      redis.call('RPUSH', KEYS[2], ARGV[8] .. ARGV[position])
    end
    local dropped = math.max(0, first - tonumber(ARGV[4]) - kept_first)
    if dropped > 0 then
      redis.call('LTRIM', KEYS[2], dropped, -1)
      kept_first = kept_first + dropped
    end
    redis.call('HSET', KEYS[1], 'first', kept_first, 'next', first + arriving)
    outcome = 'appended'
  end
end
if not session[4] then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return {outcome, session[1], kept_first, lacked, entries}
""".replace("STAMP_BYTES", str(STAMP_BYTES))
)

# Ends a session.
#
# KEYS[1], KEYS[2]  as above
# ARGV[1]  time to live in milliseconds
_END = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'ended', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
""")


class RedisStore:
    """Keeps sessions in Redis: a single server, one behind Sentinel, or a cluster.

    All keys of a session share the hash tag {session_id}, so a script may touch them in a cluster.

    Redis copies to its replicas in the background, so a master that dies takes its newest frames along. The session
    then expects them again, which its client is told by a conflict. Waiting for a replica at every frame (WAIT) would
    cost a round trip more and still promise nothing, for a replica without the frame may be the one that is promoted.
    `min-replicas-to-write` in Redis bounds the loss where a master has been cut off; its refusals are SessionStoreDown.
    """

    def __init__(self, url: str, *, ttl_s: float, timeout_s: float) -> None:
        """Args:
            url: as `redis_scripts.connect` takes it.
            ttl_s: time after which a session that is not used is forgotten.
            timeout_s: time that every call has, connecting included.
        Raises:
            ValueError: the address cannot be read; the message does not repeat it, for it may hold a password.
        """
        self._scripts = connect(url, timeout_s)
        self._ttl_ms = round(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._next_complaint_s = -math.inf

    async def open(self, session_id: str, opened: bytes) -> None:
        await self._run(_OPEN, session_id, self._ttl_ms, opened)

    async def advance(self, session_id: str, arrival: Arrival | None, *, held: Held, to_end: bool = False) -> Stored:
        asked = arrival or Arrival(0, (), b"", 0, 0)
        where = (asked.first, asked.needed_before, asked.kept_before, held.stop, held.stamp)
        said = await self._run(_ADVANCE, session_id, self._ttl_ms, *where, int(to_end), asked.stamp, *asked.frames)
        match said:
            case [b"unknown"]:
                raise UnknownSession
            case [b"conflict", expected]:
                raise SessionConflict(int(expected))
            case [outcome, opened, kept_first, first, entries]:
                return _stored(Outcome(outcome), opened, int(kept_first), int(first), entries, held, arrival)
            case _:
                raise AssertionError(f"the script answered {said!r}")

    async def close_session(self, session_id: str) -> None:
        await self._run(_END, session_id, min(round(_ENDED_KEPT_S * 1000), self._ttl_ms))

    async def close(self) -> None:
        await self._scripts.close()

    async def _run(self, script: Script, session_id: str, *arguments: bytes | int) -> Any:
        """Run a script, and turn whatever keeps it from being answered in time into one error."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._scripts.run(script, _keys(session_id), arguments)
        except FAILURES as error:
            self._complain(error)
            raise SessionStoreDown from error

    def _complain(self, error: Exception) -> None:
        """Log why Redis cannot be used, now and then: it may be every call of hundreds of streams."""
        now = time.monotonic()
        if now >= self._next_complaint_s:
            self._next_complaint_s = now + _COMPLAIN_EVERY_S
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            logger.warning("the store of the sessions cannot be used: %s: %s", type(error).__name__, reason)


def _keys(session_id: str) -> tuple[str, str]:
    return f"poselift:{{{session_id}}}:session", f"poselift:{{{session_id}}}:frames"
