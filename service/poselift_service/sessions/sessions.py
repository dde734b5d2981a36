"""Sessions: one person's live stream each, kept where every replica can go on with it.

The store holds, per session, how it was opened and the newest frames, as far back as they are still needed. It alone
decides which frame comes next, in one atomic step, so any replica may take any frame and a request may be sent again.
Each replica keeps a copy of what it has seen of its sessions, and asks the store only for what that copy lacks.

A store may lose its newest frames: those that had not reached its replica when it failed over, or its disk when it was
restored. It then expects them again, and what comes may be other frames. So that no replica goes on with a copy of
frames that are gone, each frame is stamped with random bytes when it is appended, and a replica names the stamp of the
newest frame it holds. Stamps agree only where all frames before them do.
"""

import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.lifting import Sequence
from poselift.live import KeptFrames, LiveWindow, arriving_frames
from poselift.skeletons import Skeleton, skeleton
from poselift_service.errors import InvalidRequest, Overloaded, SessionConflict, UnknownSession
from poselift_service.sessions.store import NOTHING, STAMP_BYTES, Arrival, Held, Outcome, SessionStore, Stored
from poselift_service.telemetry.metrics import SessionEvent

_SESSION_ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")
# Slower than this is no live stream; faster, and a session would keep thousands of frames for its window.
_FPS = (1.0, 240.0)
# Of the screen coordinates that are kept.
_STORED_FLOAT = np.dtype("<f4")
# Frames that a client may have under way, sent without waiting for answers, and still send again when those are lost.
# What came in one message may be sent again however much it is.
_RESENDABLE_FRAMES = 32


@dataclass(frozen=True)
class Opening:
    """How a session is opened: what stays the same for all of its frames.

    Attributes:
        source: skeleton of its keypoints.
        lookahead: frames that a pose waits for; None for as many as the network's window reaches.
    Raises:
        InvalidRequest: the frame rate is not one of a live stream.
    """

    source: Skeleton
    width_px: int
    height_px: int
    fps: float
    lookahead: int | None

    def __post_init__(self) -> None:
        slowest, fastest = _FPS
        if not slowest <= self.fps <= fastest:
            raise InvalidRequest(
                f"A session has {slowest:g} to {fastest:g} frames per second, not {self.fps:g}.", path="fps"
            )


@dataclass(frozen=True)
class Session:
    """A session as far as this replica has seen it.

    Attributes:
        session_id: identity of the artifact that lifts it, and a random name, so that frames kept for one network never
            come to another.
        stamp: of the newest of the frames.
    """

    session_id: str
    opening: Opening
    manifest: Manifest
    window: LiveWindow
    frames: KeptFrames
    stamp: bytes

    @property
    def next_frame_index(self) -> int:
        return self.frames.stop

    @property
    def held(self) -> Held:
        """What the store need not tell this replica."""
        return Held(self.frames.stop, self.stamp)


class Sessions:
    """This replica's view of all sessions: the store, and a copy of what it has seen of those it served last."""

    def __init__(
        self,
        store: SessionStore,
        *,
        ttl_s: float,
        capacity: int,
        observe: Callable[[SessionEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        ttl_s: time after which the store forgets a session that is not used.
        capacity: sessions that this replica serves at a time.
        observe: told what becomes of sessions.
        """
        self._store = store
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._observe = observe
        self._clock = clock
        # With the moment at which the store will have forgotten each, if it is not used again; that soonest first.
        self._copies: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    @property
    def ttl_s(self) -> float:
        """Time after which a session that is not used is forgotten."""
        return self._ttl_s

    @property
    def held(self) -> int:
        """Sessions that there is a copy of here."""
        return len(self._copies)

    async def open(self, opening: Opening, manifest: Manifest) -> Session:
        """Begin a session.

        Raises:
            InvalidKeypoints: its window does not have that lookahead.
            Overloaded: this replica serves as many sessions as it may.
            SessionStoreDown: the store cannot be reached.
        """
        window = LiveWindow.of(manifest, opening.fps, opening.lookahead)
        self._forget_expired()
        if len(self._copies) >= self._capacity:
            _, soonest = next(iter(self._copies.values()))
            raise Overloaded(retry_after_s=soonest - self._clock())
        session_id = f"{manifest.identity}-{secrets.token_hex(16)}"
        opening = replace(opening, lookahead=window.lookahead)
        await self._store.open(session_id, _write_opening(opening))
        self._observe("opened")
        return self._keep(Session(session_id, opening, manifest, window, KeptFrames.none(manifest), NOTHING.stamp))

    async def find(self, session_id: str, manifest: Manifest) -> Session:
        """Look a session up, here if it is known here; another replica may know more of it.

        Args:
            manifest: of the artifact with the identity in `session_id`.
        Raises:
            UnknownSession: there is none, or not any more.
            SessionStoreDown: the store cannot be reached.
        """
        self._forget_expired()
        if session_id in self._copies:
            return self._copies[session_id][0]
        return self._keep(_session(session_id, manifest, await self._store.advance(session_id, None, held=NOTHING)))

    async def read(self, session: Session) -> Session:
        """The session as it is in the store now.

        Raises:
            UnknownSession: it is not there any more.
            SessionStoreDown: the store cannot be reached.
        """
        return self._keep(_joined(session, await self._advance(session, None)))

    async def read_to_end(self, session_id: str, manifest: Manifest) -> Session:
        """The session as it is in the store now, or was when it ended a moment ago; for what `close_session` follows.

        Args:
            manifest: of the artifact with the identity in `session_id`.
        Raises:
            UnknownSession: there is none, or it ended long ago.
            SessionStoreDown: the store cannot be reached.
        """
        return _session(session_id, manifest, await self._store.advance(session_id, None, held=NOTHING, to_end=True))

    async def append(self, session: Session, first: int, sequence: Sequence) -> Session:
        """Append arriving frames, or find that they are there already because they were sent before.

        Args:
            first: frame index of the first one.
            sequence: their keypoints; its times do not matter.
        Returns:
            The session with them.
        Raises:
            UnknownSession: it is not there any more.
            SessionConflict: other frames are expected.
            SessionStoreDown: the store cannot be reached.
        """
        if session.next_frame_index != first and session.manifest.missing_joints == "hold":
            session = await self.read(session)
            if session.next_frame_index < first:
                # A joint that is missing is held from the frame before, which may come to the store before these do.
                raise SessionConflict(session.next_frame_index)
        arriving = arriving_frames(sequence, session.manifest, first, session.frames)
        needed = session.window.needed_before
        kept = needed + max(0, _RESENDABLE_FRAMES - len(sequence.keypoints))
        arrival = Arrival(first, _write_frames(arriving), secrets.token_bytes(STAMP_BYTES), needed, kept)
        stored = await self._advance(session, arrival)
        if stored.outcome is Outcome.DIVERGED:
            return await self.append(self._keep(_joined(session, stored)), first, sequence)
        return self._keep(_joined(session, stored, arriving if stored.outcome is Outcome.APPENDED else None))

    async def close_session(self, session: Session) -> None:
        """End a session: it is unknown from now on, except to `read_to_end`, for a moment.

        Raises:
            SessionStoreDown: the store cannot be reached.
        """
        await self._store.close_session(session.session_id)
        self._copies.pop(session.session_id, None)
        self._observe("closed")

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()

    async def _advance(self, session: Session, arrival: Arrival | None) -> Stored:
        try:
            return await self._store.advance(session.session_id, arrival, held=session.held)
        except UnknownSession:
            if self._copies.pop(session.session_id, None) is not None:
                self._observe("lost")
            raise

    def _keep(self, session: Session) -> Session:
        self._copies[session.session_id] = session, self._clock() + self._ttl_s
        self._copies.move_to_end(session.session_id)
        if len(self._copies) > self._capacity:
            self._copies.popitem(last=False)  # only the copy: the store still has it
        return session

    def _forget_expired(self) -> None:
        while self._copies and next(iter(self._copies.values()))[1] <= self._clock():
            self._copies.popitem(last=False)
            self._observe("expired")


def identity_of(session_id: str) -> str:
    """Identity of the artifact that lifts a session.

    Raises:
        UnknownSession: no session was ever named so.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise UnknownSession
    return session_id.partition("-")[0]


def _session(session_id: str, manifest: Manifest, stored: Stored) -> Session:
    """A session of which the store has told everything."""
    opening = _read_opening(stored.opened)
    window = LiveWindow.of(manifest, opening.fps, opening.lookahead)
    return Session(session_id, opening, manifest, window, _read_frames(stored, manifest), stored.stamp)


def _joined(session: Session, stored: Stored, appended: KeptFrames | None = None) -> Session:
    """What this replica holds, what the store says it lacks, and what was appended.

    The store's word counts alone where the first two do not meet.
    """
    frames = session.frames
    if stored.frames or stored.first != frames.stop:
        lacked = _read_frames(stored, session.manifest)
        frames = frames.followed_by(lacked) if lacked.start == frames.stop else lacked
    frames = frames.since(stored.kept_first)
    return replace(session, frames=frames.followed_by(appended) if appended else frames, stamp=stored.stamp)


def _write_opening(opening: Opening) -> bytes:
    fields = {
        "source": opening.source.name,
        "width_px": opening.width_px,
        "height_px": opening.height_px,
        "fps": opening.fps,
        "lookahead": opening.lookahead,
    }
    return json.dumps(fields).encode()


def _read_opening(opened: bytes) -> Opening:
    fields = json.loads(opened)
    return Opening(**{**fields, "source": skeleton(fields["source"])})


def _write_frames(frames: KeptFrames) -> list[bytes]:
    """Each frame as little-endian float32 screen coordinates [J_in, 2], and a bit for each imputed joint [J_out]."""
    screen = frames.screen.astype(_STORED_FLOAT, copy=False).tobytes()
    flags = np.packbits(frames.imputed, axis=1).tobytes()
    count = len(frames.screen)
    of_screen, of_flags = len(screen) // count, len(flags) // count
    return [
        screen[frame * of_screen : (frame + 1) * of_screen] + flags[frame * of_flags : (frame + 1) * of_flags]
        for frame in range(count)
    ]


def _read_frames(stored: Stored, manifest: Manifest) -> KeptFrames:
    joints_in, joints_out = manifest.source.n_joints, manifest.target.n_joints
    bytes_of_screen, bytes_of_flags = joints_in * 2 * 4, -(-joints_out // 8)
    content = np.frombuffer(b"".join(stored.frames), np.uint8).reshape(-1, bytes_of_screen + bytes_of_flags)
    screen = np.ascontiguousarray(content[:, :bytes_of_screen]).view(_STORED_FLOAT).astype(np.float32)
    imputed = np.unpackbits(content[:, bytes_of_screen:], axis=1, count=joints_out).astype(np.bool_)
    return KeptFrames(stored.first, screen.reshape(-1, joints_in, 2), imputed.reshape(-1, joints_out))
