"""Opens, reads, advances and ends sessions, on any replica.

The store holds the opening of each session and its newest frames, as far back as they are still needed. It alone
decides which frame comes next, in one atomic step, so any replica may receive any frame, and a request may be resent.
Each replica keeps a copy of the sessions it has served last, and asks the store only for the frames its copy lacks.

A store may lose its newest frames: those that had not been replicated before a failover, or not been written to disk
before a restore. It then expects these frames again, and other frames may take their place. So that no replica
continues with a copy of lost frames, each frame is stored with a random stamp of its append, and a replica sends the
stamp of the newest frame in its copy. Two stamps agree only if all frames before them do.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from poselift.artifacts.manifest import Manifest
from poselift.averaged_window import OwnPoses
from poselift.live_window import KeptFrames, arriving_frames
from poselift.sequence import Sequence
from poselift_service.errors import InvalidRequest, SessionConflict, UnknownSession
from poselift_service.sessions.copies import RESENDABLE_FRAMES, SessionCopies, SessionLimits
from poselift_service.sessions.motion import EVERY_FRAMES, continued_from, oldest_state, with_motion, with_states
from poselift_service.sessions.serialization import dump_frames, dump_opening, load_frames, load_opening
from poselift_service.sessions.session import (
    MAX_SESSION_FPS,
    Caller,
    Opening,
    Session,
    check_frame_times,
    new_session_id,
    recommended_lookahead,
    window_of,
)
from poselift_service.sessions.store import (
    EMPTY_CURSOR,
    STAMP_BYTES,
    Append,
    MotionStates,
    Outcome,
    SessionStore,
    StoreReply,
)
from poselift_service.telemetry.metrics import SessionEvent

logger = logging.getLogger(__name__)

# Converting this many frames takes about a millisecond; more would delay everything else on the event loop.
_MAX_FRAMES_ON_LOOP = 128


class Sessions:
    """The sessions in a store, and this replica's copies of those it served last."""

    def __init__(
        self,
        store: SessionStore,
        *,
        ttl_s: float,
        limits: SessionLimits,
        default_lookahead: int | Literal["full", "recommended"] = "recommended",
        observe: Callable[[SessionEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve the sessions of a store.

        Args:
            ttl_s: time after which an unused session expires in the store.
            limits: how many sessions this replica serves at a time.
            default_lookahead: that of sessions whose opening names none, see `recommended_lookahead`; less where the
                window reaches less far.
            observe: called when a session is opened, closed, expired or lost.
        """
        self._store = store
        self._ttl_s = ttl_s
        self._default_lookahead = default_lookahead
        self._observe = observe
        self._copies = SessionCopies(limits, ttl_s=ttl_s, observe=observe, clock=clock)

    @property
    def ttl_s(self) -> float:
        """Time after which an unused session expires."""
        return self._ttl_s

    @property
    def held(self) -> int:
        """Number of sessions of which this replica holds a copy."""
        return len(self._copies)

    async def open(self, opening: Opening, manifest: Manifest, caller: Caller) -> Session:
        """Open a session.

        Args:
            caller: whose session it is.
        Raises:
            InvalidKeypoints: the network's window does not reach that far ahead.
            Overloaded: this replica serves as many sessions as it may, in total or of this caller.
            SessionStoreDown: the store cannot be reached.
        """
        if opening.lookahead is None:
            opening = replace(opening, lookahead=self._default_for(manifest, opening))
        window = window_of(manifest, opening)
        self._copies.admit(caller.name)
        session_id = new_session_id(manifest.identity, caller.key)
        opening = replace(opening, lookahead="full" if window.lookahead is None else window.lookahead)
        await self._store.open(session_id, dump_opening(opening))
        self._observe("opened")
        frames = KeptFrames.none(manifest, timed=opening.fps is None)
        return self._copies.put(Session(session_id, opening, manifest, window, frames, EMPTY_CURSOR.stamp), caller.name)

    def _default_for(self, manifest: Manifest, opening: Opening) -> int | Literal["full"]:
        default = self._default_lookahead
        if default == "recommended":
            default = recommended_lookahead(manifest, opening)
        if default == "full":
            return default
        return min(default, window_of(manifest, replace(opening, lookahead=0)).max_lookahead)

    async def find(self, session_id: str, manifest: Manifest) -> Session:
        """Return this replica's copy of a session, or read it from the store; other replicas may know newer frames.

        Args:
            manifest: manifest of the artifact whose identity is in `session_id`.
        Raises:
            UnknownSession: there is no such session, or it ended long ago.
            SessionStoreDown: the store cannot be reached.
        """
        if (copy := self._copies.get(session_id)) is not None:
            return copy
        try:
            reply = await self._store.advance(session_id, None, cursor=EMPTY_CURSOR)
        except UnknownSession:
            # Its last frames may be sent again, with its end, when the answers to them were lost.
            return await self.read_including_ended(session_id, manifest)
        return self._copies.put(_load_session(session_id, manifest, reply))

    async def read(self, session: Session) -> Session:
        """Read a session's current state from the store.

        Raises:
            UnknownSession: it has ended or expired.
            SessionStoreDown: the store cannot be reached.
        """
        return self._update(session, await self._advance(session, None))

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
            sequence: their keypoints, and their times, which a session of constant frame rate ignores.
        Returns:
            The session including these frames and, if it asks for motion in the world, a state to continue it from.
        Raises:
            UnknownSession: it has expired, has ended without all of these frames, or its motion in the world is lost.
            SessionConflict: the session expects other frames.
            InvalidRequest: their times do not follow those of the frames before.
            SessionStoreDown: the store cannot be reached.
        """
        depends = session.is_timed or session.manifest.missing_joints == "hold" or session.opening.world is not None
        if session.next_frame_index != first and depends:
            session = self._update(session, await self._advance(session, None, include_ended=True))
            if session.next_frame_index < first:
                # What is stored for these depends on the frame before, which another request may yet append.
                raise SessionConflict(session.next_frame_index)
        if session.is_timed:
            check_frame_times(sequence.times_s, first, session.frames)
        if len(sequence.keypoints) <= _MAX_FRAMES_ON_LOOP:
            new, serialized = _convert(session, first, sequence)
        else:
            new, serialized = await asyncio.to_thread(_convert, session, first, sequence)
        if session.is_timed:
            _refuse_too_many(session, new)
        begin, resent = first, min(first, new.stop - RESENDABLE_FRAMES)
        if session.opening.world is not None:
            session, begin = await self._with_motion(session, first)
            resent = min(begin, oldest_state(first, new.stop, RESENDABLE_FRAMES))
        needed, kept = (first - session.window.needed_from(oldest, session.frames) for oldest in (begin, resent))
        append = Append(first, serialized, secrets.token_bytes(STAMP_BYTES), needed, kept)
        reply = await self._advance(session, append, include_ended=True)
        if reply.outcome is Outcome.DIVERGED:
            return await self.append(self._update(session, reply), first, sequence)
        return self._update(session, reply, new if reply.outcome is Outcome.APPENDED else None)

    async def keep_motion(self, session: Session, first: int, states: Mapping[int, bytes]) -> Session:
        """Keep states of a session's motion in the world after a message.

        Args:
            session: with the frames that they were computed from.
            first: frame index of the first one of the message.
            states: those at `kept_indices`.
        Returns:
            The session with them.
        Raises:
            SessionStoreDown: the store cannot be reached.
        """
        kept = MotionStates(states, oldest_state(first, max(states), RESENDABLE_FRAMES), EVERY_FRAMES)
        await self._store.keep_motion(session.session_id, kept, cursor=session.cursor)
        session = with_states(session, kept)
        self._copies.amend(session)
        return session

    def keep_own(self, session: Session, own: OwnPoses) -> Session:
        """Keep the newest own poses of a session in this replica's copy, for the next frames.

        Args:
            session: with the frames that they were lifted from.
        """
        session = replace(session, own=own.newest())
        self._copies.amend(session)
        return session

    async def with_motion(self, session: Session) -> Session:
        """The session with a state to continue its motion in the world from, at its end.

        Raises:
            UnknownSession: its motion is lost.
            SessionStoreDown: the store cannot be reached.
        """
        return (await self._with_motion(session, session.next_frame_index))[0]

    async def _with_motion(self, session: Session, first: int) -> tuple[Session, int]:
        """The session with a state from which frames from `first` on can be put into the world, and its index."""
        begin = continued_from(session, first)
        if begin is None:
            session = with_motion(session, await self._store.read_motion(session.session_id))
            begin = continued_from(session, first)
        if begin is None:
            logger.warning("the motion in the world of a session is lost")
            raise UnknownSession
        return session, begin

    async def close_session(self, session: Session) -> None:
        """End a session: it is unknown from now on, except for a moment to `read_including_ended`.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """
        await self._store.close_session(session.session_id)
        self._copies.drop(session.session_id)
        self._observe("closed")

    async def is_shared(self, session_id: str) -> bool:
        """Whether there is such a session that other replicas can serve, or was a moment ago.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """
        return await self._store.is_shared(session_id)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def _update(self, session: Session, reply: StoreReply, appended: KeptFrames | None = None) -> Session:
        """Bring a session up to date with a reply, and keep a copy of it, unless it has ended: nothing follows then."""
        session = _merged(session, reply, appended)
        if not reply.has_ended:
            return self._copies.put(session)
        self._copies.drop(session.session_id)
        return session

    async def _advance(self, session: Session, append: Append | None, *, include_ended: bool = False) -> StoreReply:
        cursor = session.cursor
        try:
            return await self._store.advance(session.session_id, append, cursor=cursor, include_ended=include_ended)
        except UnknownSession:
            if self._copies.drop(session.session_id):
                self._observe("lost")
            raise


def _convert(session: Session, first: int, sequence: Sequence) -> tuple[KeptFrames, list[bytes]]:
    """The frames to store for arriving keypoints, and their serialization."""
    frames = arriving_frames(sequence, session.manifest, first, session.frames)
    return frames, dump_frames(frames)


def _refuse_too_many(session: Session, new: KeptFrames) -> None:
    """Refuse frames that come so close to one another that too many of them would have to be stored."""
    frames = session.frames
    if not frames.start <= new.start <= frames.stop:
        return  # the store refuses them
    if new.stop - frames.start <= session.window.needed_before:
        return
    frames = frames.until(new.start).followed_by(new)
    if new.stop - session.window.needed_from(new.stop, frames) > session.window.needed_before:
        raise InvalidRequest(
            f"The frames come faster than {MAX_SESSION_FPS} per second, the most of a session.", path="time_s"
        )


def _load_session(session_id: str, manifest: Manifest, reply: StoreReply) -> Session:
    """Build a session from a reply that holds all of its frames."""
    opening = load_opening(reply.opening)
    frames = load_frames(reply, manifest, timed=opening.fps is None)
    return Session(session_id, opening, manifest, window_of(manifest, opening), frames, reply.stamp)


def _merged(session: Session, reply: StoreReply, appended: KeptFrames | None = None) -> Session:
    """Join a replica's copy, the frames of a reply, and the frames that were appended.

    Where the reply's frames do not continue those of the copy, they replace them.
    """
    frames = session.frames
    if reply.frames or reply.first != frames.stop:
        missing = load_frames(reply, session.manifest, timed=session.is_timed)
        frames = frames.followed_by(missing) if missing.start == frames.stop else missing
    frames = frames.since(reply.kept_first)
    # Where the store could not compare it with its frames, the copy may be of frames that it has lost.
    is_same = reply.outcome is not Outcome.DIVERGED and session.next_frame_index > reply.kept_first
    return replace(
        session,
        frames=frames.followed_by(appended) if appended else frames,
        stamp=reply.stamp,
        motion=session.motion if is_same else {},
        own=session.own if is_same else None,
    )
