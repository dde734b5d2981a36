"""The interface of a session store, which keeps the opening and the newest frames of each session."""

import enum
from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import NamedTuple, Protocol

STAMP_BYTES = 8
"""Length of a stamp: long enough that no two random stamps are ever equal."""


class Append(NamedTuple):
    """Frames to append to a session.

    Attributes:
        first: frame index of the first one.
        frames: one or more serialized frames; equal frames have equal bytes.
        stamp: `STAMP_BYTES` random bytes, unique to this append, stored with each of its frames.
        needed_before: number of frames before `first` that are needed to lift the targets these frames complete.
        kept_before: number of frames before `first` to keep, so that frames can be resent and lifted again.
    """

    first: int
    frames: Items[bytes]
    stamp: bytes
    needed_before: int
    kept_before: int


class MotionStates(NamedTuple):
    """States of a session's motion in the world, to keep beside its frames.

    Attributes:
        states: each after all frames before an index.
        oldest: states from before that index are not needed any more; nor are, from before the newest of `states`,
            those at other indices than multiples of `every`.
    """

    states: Mapping[int, bytes]
    oldest: int
    every: int

    def replaces(self, index: int) -> bool:
        """Whether an earlier state is not needed any more."""
        return index < self.oldest or (index < max(self.states) and index % self.every != 0)


class ReplicaCursor(NamedTuple):
    """How far a replica's copy of a session reaches.

    Attributes:
        stop: the replica holds all kept frames before this index.
        stamp: stamp of the last frame before `stop`.
    """

    stop: int
    stamp: bytes


EMPTY_CURSOR = ReplicaCursor(0, b"")


class Outcome(enum.Enum):
    """What an append or a read did; the values are those that the Lua script returns."""

    APPENDED = b"appended"
    """At least one frame was new."""

    UNCHANGED = b"unchanged"
    """No frame was new, or none was sent."""

    DIVERGED = b"diverged"
    """The replica's copy differs from the stored frames. Nothing was appended; the reply holds all stored frames."""


class StoreReply(NamedTuple):
    """A store's reply to an append or a read.

    Attributes:
        opening: the serialized opening of the session.
        kept_first: frame index of the oldest frame that is still stored.
        first: frame index of the first of `frames`.
        frames: the serialized frames that the replica lacks, without those it has just appended.
        stamp: stamp of the newest stored frame.
        has_ended: whether the session has ended, and will be unknown in a moment.
    """

    outcome: Outcome
    opening: bytes
    kept_first: int
    first: int
    frames: Items[bytes]
    stamp: bytes
    has_ended: bool = False


class SessionStore(Protocol):
    """Stores sessions. Each method is one atomic step; `advance` renews the session's expiry."""

    async def open(self, session_id: str, opening: bytes) -> None:
        """Create a session. If it is there, or ended a moment ago, nothing changes: the network may repeat a call.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        """Append those frames that are new, or only read if `append` is None.

        Args:
            cursor: what the replica already holds.
            include_ended: also read a session that has ended recently, or append nothing to it but what it has.
        Raises:
            UnknownSession: there is no such session, or it has ended or expired.
            SessionConflict: the frames are out of order (see `frame_order`), or differ from the stored frames at their
                indices; nothing was changed.
            SessionStoreDown: the store cannot be reached, or does not answer in time.
        """

    async def keep_motion(self, session_id: str, motion: MotionStates, *, cursor: ReplicaCursor) -> None:
        """Keep states of motion in the world until the session ends or expires, and drop those no longer needed.

        Args:
            cursor: what they were computed from. Nothing is kept if the stored frames differ, or are not there.
        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def read_motion(self, session_id: str) -> Mapping[int, bytes]:
        """The states that are kept; none if there is no such session. Does not renew its expiry.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def is_shared(self, session_id: str) -> bool:
        """Whether there is such a session that other servers can serve, or was a moment ago; does not renew its expiry.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def close_session(self, session_id: str) -> None:
        """End a session, if there is one.

        It is unknown from now on, except, for a moment, to reads with `include_ended`.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """

    async def close(self) -> None:
        """Close the store's connections."""


def make_reply(
    outcome: Outcome,
    opening: bytes,
    kept_first: int,
    first: int,
    entries: Items[bytes],
    cursor: ReplicaCursor,
    append: Append | None,
    *,
    has_ended: bool,
) -> StoreReply:
    """Build a reply from the stored entries that a replica lacks; an entry is a stamp followed by a frame."""
    stamp = entries[-1][:STAMP_BYTES] if entries else cursor.stamp
    if append is not None and outcome is Outcome.APPENDED:
        stamp = append.stamp
    frames = [entry[STAMP_BYTES:] for entry in entries]
    return StoreReply(outcome, opening, kept_first, first, frames, stamp, has_ended)
