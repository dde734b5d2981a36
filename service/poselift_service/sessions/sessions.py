"""Opens, reads, advances and ends sessions, on any replica.

The store holds the opening of each session and its newest frames, as far back as they are still needed. It alone
decides which frame comes next, in one atomic step, so any replica may receive any frame, and a request may be resent.
Each replica keeps a copy of the sessions it has served last, and asks the store only for the frames its copy lacks.

A store may lose its newest frames: those that had not been replicated before a failover, or not been written to disk
before a restore. It then expects these frames again, and other frames may take their place. So that no replica
continues with a copy of lost frames, each frame is stored with a random stamp of its append, and a replica sends the
stamp of the newest frame in its copy. Two stamps agree only if all frames before them do.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from poselift.artifacts.manifest import Manifest
from poselift.lifting import Sequence
from poselift.live_window import KeptFrames, LiveWindow, arriving_frames
from poselift_service.errors import Overloaded, SessionConflict, UnknownSession
from poselift_service.sessions.serialization import dump_frames, dump_opening, load_frames, load_opening
from poselift_service.sessions.session import Opening, Session
from poselift_service.sessions.store import EMPTY_CURSOR, STAMP_BYTES, Append, Outcome, SessionStore, StoreReply
from poselift_service.telemetry.metrics import SessionEvent

# Frames that a client may send ahead without waiting for answers, and resend when those are lost. The frames of one
# message may always be resent, however many they are.
_RESENDABLE_FRAMES = 32


class Sessions:
    """The sessions in a store, and this replica's copies of those it served last."""

    def __init__(
        self,
        store: SessionStore,
        *,
        ttl_s: float,
        capacity: int,
        observe: Callable[[SessionEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve the sessions of a store.

        Args:
            ttl_s: time after which an unused session expires in the store.
            capacity: most sessions that this replica serves at a time.
            observe: called when a session is opened, closed, expired or lost.
        """
        self._store = store
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._observe = observe
        self._clock = clock
        # Each with the time at which it expires in the store if it is not used again; ordered by that time.
        self._copies: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    @property
    def ttl_s(self) -> float:
        """Time after which an unused session expires."""
        return self._ttl_s

    @property
    def held(self) -> int:
        """Number of sessions of which this replica holds a copy."""
        return len(self._copies)

    async def open(self, opening: Opening, manifest: Manifest) -> Session:
        """Open a session.

        Raises:
            InvalidKeypoints: the network's window does not reach that far ahead.
            Overloaded: this replica serves as many sessions as it may.
            SessionStoreDown: the store cannot be reached.
        """
        window = LiveWindow.of(manifest, opening.fps, opening.lookahead)
        self._drop_expired()
        if len(self._copies) >= self._capacity:
            _, first_expiry = next(iter(self._copies.values()))
            raise Overloaded(retry_after_s=first_expiry - self._clock())
        session_id = f"{manifest.identity}-{secrets.token_hex(16)}"
        opening = replace(opening, lookahead=window.lookahead)
        await self._store.open(session_id, dump_opening(opening))
        self._observe("opened")
        session = Session(session_id, opening, manifest, window, KeptFrames.none(manifest), EMPTY_CURSOR.stamp)
        return self._update_copy(session)

    async def find(self, session_id: str, manifest: Manifest) -> Session:
        """Return this replica's copy of a session, or read it from the store; other replicas may know newer frames.

        Args:
            manifest: manifest of the artifact whose identity is in `session_id`.
        Raises:
            UnknownSession: there is no such session, or it has ended or expired.
            SessionStoreDown: the store cannot be reached.
        """
        self._drop_expired()
        if session_id in self._copies:
            return self._copies[session_id][0]
        reply = await self._store.advance(session_id, None, cursor=EMPTY_CURSOR)
        return self._update_copy(_load_session(session_id, manifest, reply))

    async def read(self, session: Session) -> Session:
        """Read a session's current state from the store.

        Raises:
            UnknownSession: it has ended or expired.
            SessionStoreDown: the store cannot be reached.
        """
        return self._update_copy(_merged(session, await self._advance(session, None)))

    async def read_including_ended(self, session_id: str, manifest: Manifest) -> Session:
        """Read a session's current state, or its last state if it ended a moment ago; `close_session` follows.

        Args:
            manifest: manifest of the artifact whose identity is in `session_id`.
        Raises:
            UnknownSession: there is no such session, or it ended long ago.
            SessionStoreDown: the store cannot be reached.
        """
        reply = await self._store.advance(session_id, None, cursor=EMPTY_CURSOR, include_ended=True)
        return _load_session(session_id, manifest, reply)

    async def append(self, session: Session, first: int, sequence: Sequence) -> Session:
        """Append new frames; frames that are already stored, because they are resent, stay as they are.

        Args:
            first: frame index of the first one.
            sequence: their keypoints; its times are ignored.
        Returns:
            The session including these frames.
        Raises:
            UnknownSession: it has ended or expired.
            SessionConflict: the session expects other frames.
            SessionStoreDown: the store cannot be reached.
        """
        if session.next_frame_index != first and session.manifest.missing_joints == "hold":
            session = await self.read(session)
            if session.next_frame_index < first:
                # A missing joint keeps its position of the frame before, which another request may yet append.
                raise SessionConflict(session.next_frame_index)
        new = arriving_frames(sequence, session.manifest, first, session.frames)
        needed = session.window.needed_before
        kept = needed + max(0, _RESENDABLE_FRAMES - len(sequence.keypoints))
        append = Append(first, dump_frames(new), secrets.token_bytes(STAMP_BYTES), needed, kept)
        reply = await self._advance(session, append)
        if reply.outcome is Outcome.DIVERGED:
            return await self.append(self._update_copy(_merged(session, reply)), first, sequence)
        return self._update_copy(_merged(session, reply, new if reply.outcome is Outcome.APPENDED else None))

    async def close_session(self, session: Session) -> None:
        """End a session: it is unknown from now on, except for a moment to `read_including_ended`.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """
        await self._store.close_session(session.session_id)
        self._copies.pop(session.session_id, None)
        self._observe("closed")

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    async def _advance(self, session: Session, append: Append | None) -> StoreReply:
        try:
            return await self._store.advance(session.session_id, append, cursor=session.cursor)
        except UnknownSession:
            if self._copies.pop(session.session_id, None) is not None:
                self._observe("lost")
            raise

    def _update_copy(self, session: Session) -> Session:
        self._copies[session.session_id] = session, self._clock() + self._ttl_s
        self._copies.move_to_end(session.session_id)
        if len(self._copies) > self._capacity:
            self._copies.popitem(last=False)  # the session itself stays in the store
        return session

    def _drop_expired(self) -> None:
        while self._copies and next(iter(self._copies.values()))[1] <= self._clock():
            self._copies.popitem(last=False)
            self._observe("expired")


def _load_session(session_id: str, manifest: Manifest, reply: StoreReply) -> Session:
    """Build a session from a reply that holds all of its frames."""
    opening = load_opening(reply.opening)
    window = LiveWindow.of(manifest, opening.fps, opening.lookahead)
    return Session(session_id, opening, manifest, window, load_frames(reply, manifest), reply.stamp)


def _merged(session: Session, reply: StoreReply, appended: KeptFrames | None = None) -> Session:
    """Join a replica's copy, the frames of a reply, and the frames that were appended.

    Where the reply's frames do not continue those of the copy, they replace them.
    """
    frames = session.frames
    if reply.frames or reply.first != frames.stop:
        missing = load_frames(reply, session.manifest)
        frames = frames.followed_by(missing) if missing.start == frames.stop else missing
    frames = frames.since(reply.kept_first)
    return replace(session, frames=frames.followed_by(appended) if appended else frames, stamp=reply.stamp)
