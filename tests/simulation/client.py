"""A client of one session: it sends frames, sends again what has no answer, and follows conflicts, as documented."""

import asyncio
import random
from typing import Protocol

from poselift_service.errors import (
    DeadlineExceeded,
    EngineFailed,
    NotReady,
    Overloaded,
    ServiceError,
    SessionConflict,
    SessionStoreDown,
    UnknownSession,
)
from poselift_service.pipeline.live import LiveFrames, LivePoses
from poselift_service.sessions.session import Caller, Session

from tests.simulation.frames import Source
from tests.simulation.judge import Judge, Request
from tests.simulation.replica import Lost, Replica
from tests.simulation.sequential_store import SequentialStore
from tests.simulation.trail import Trail
from tests.simulation.violation import require

RETRYABLE = (DeadlineExceeded, EngineFailed, NotReady, Overloaded, SessionStoreDown, Lost)
_MAX_PAUSE_S = 0.5
# Distance between the numbers of a client's sources.
_NEW_SOURCE = 10
_MAX_MESSAGE_FRAMES = 3
# Most rounds of messages without progress when nothing fails any more.
_MAX_FRUITLESS_ROUNDS = 60


class Surroundings(Protocol):
    """What a client sees of the world."""

    store: SequentialStore
    judge: Judge
    rng: random.Random
    trail: Trail
    is_calm: bool

    def pick_replica(self) -> Replica | None: ...


class Client:
    """Sends the frames of one source to a session, and ends it.

    Attributes:
        answered: targets that have a pose.
        is_complete: whether it has ended the session.
        has_skipped: whether frames were stored and could not be sent again, so that they stay without poses.
        says_how_many: whether it says at the end how many frames it has sent.
        sources: whose frames it has sent, the last one being the one that it sends now.
    """

    def __init__(
        self,
        world: Surroundings,
        session_id: str,
        source: Source,
        frames: int,
        *,
        most_ahead: int,
        impatience: float,
        pause_s: float,
        timeout_s: float,
        is_alone: bool,
        caller: Caller,
    ) -> None:
        """Prepare a client.

        Args:
            most_ahead: most messages to send before the first one is answered.
            impatience: probability of hanging up before an answer.
            pause_s: longest pause between messages.
            timeout_s: longest deadline.
            is_alone: whether it is the session's only client, and ends it.
            caller: who has opened the session.
        """
        self.answered: set[int] = set()
        self.sources = [source]
        self.is_complete = self.has_skipped = False
        self.says_how_many = world.rng.random() < 0.7
        self._world = world
        self._session_id = session_id
        self.frames = frames
        self._most_ahead = most_ahead
        self._impatience = impatience
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self._is_alone = is_alone
        self._caller = caller
        self._fruitless_rounds = 0
        self._known: tuple[Replica, Session] | None = None

    async def run(self) -> None:
        position = 0
        while position < self.frames or (self._is_alone and not self.is_complete):
            moved = await (self._send_some(position) if position < self.frames else self._end())
            if moved is None:
                return
            position = moved
            await asyncio.sleep(self._world.rng.random() * self._pause_s)

    async def _end(self) -> int | None:
        """End the session. Returns the position to go on at, if it has not ended; None if the session is lost."""
        outcome = await self._try(range(0))
        if isinstance(outcome, Exception):
            self._count_fruitless_round(range(0), outcome)
        if isinstance(outcome, UnknownSession) and self._is_lost(include_ended=True):
            return None
        if isinstance(outcome, SessionConflict):
            return min(outcome.expected_frame_index, self.frames)
        self.is_complete = not isinstance(outcome, Exception)
        return self.frames

    async def _send_some(self, position: int) -> int | None:
        """Send the next messages. Returns the position after those that were answered; None if the session is lost."""
        messages, answered_before = self._cut(position), position
        outcomes = await asyncio.gather(*(self._try(message) for message in messages))
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._count_fruitless_round(message, outcome)
            if isinstance(outcome, UnknownSession) and self._is_lost(include_ended=False):
                return None
            if isinstance(outcome, SessionConflict):
                return self._follow(outcome.expected_frame_index, message, position, answered_before)
            if isinstance(outcome, Exception):
                return position
            position, self._fruitless_rounds = message.stop, 0
        return position

    def _count_fruitless_round(self, frames: range, error: Exception) -> None:
        self._fruitless_rounds += self._world.is_calm
        is_stuck = self._fruitless_rounds >= _MAX_FRUITLESS_ROUNDS
        require(not is_stuck, "a client makes no progress", self._session_id, frames, error)

    def _follow(self, expected: int, message: range, position: int, answered_before: int) -> int:
        """Where to go on after a conflict. Where frames have been lost, others may take their place."""
        if expected >= position > message.start:
            return position  # the message went too far back
        if expected < answered_before and self._world.rng.random() < 0.5:
            self.sources.append(self._source._replace(number=self._source.number + _NEW_SOURCE))
        self.has_skipped |= expected > position
        return min(expected, self.frames)

    @property
    def _source(self) -> Source:
        return self.sources[-1]

    def _cut(self, position: int) -> list[range]:
        """The next messages; now and then one is sent twice, or repeats frames that have been answered."""
        rng, messages = self._world.rng, []
        if rng.random() < 0.1:
            position = max(0, position - rng.randint(1, 4))
        for _ in range(rng.randint(1, self._most_ahead)):
            stop = min(self.frames, position + rng.randint(1, _MAX_MESSAGE_FRAMES))
            if stop > position:
                messages.append(range(position, stop))
                if rng.random() < 0.15:
                    messages.append(messages[-1])
            position = stop
        return messages

    async def _try(self, frames: range) -> LivePoses | Exception:
        """Send a message to some replica. Returns its answer or error; waits a moment after an error."""
        rng = self._world.rng
        replica = self._world.pick_replica()
        try:
            if replica is None:
                raise Lost
            if self._caller.key is not None and rng.random() < 0.05:
                await self._intrude(replica)
            hangs_up = rng.random() < self._impatience and not self._world.is_calm
            patience_s = rng.random() * rng.choice((0.05, 1.0)) if hangs_up else None
            poses = await replica.call(self._request(replica, frames), patience_s)
        except (*RETRYABLE, SessionConflict, UnknownSession) as error:
            self._world.trail.note(self._source.number, frames, repr(error))
            await asyncio.sleep(rng.random() * _MAX_PAUSE_S)
            return error
        self._world.trail.note(self._source.number, frames, "answered", poses.targets)
        self.answered.update(poses.targets)
        return poses

    async def _intrude(self, replica: Replica) -> None:
        """End the session with another key, which must find no such session."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            await replica.call(replica.live.end(self._session_id, Caller("another"), deadline=deadline_s))
        except UnknownSession:
            return
        require(False, "a session was used with another key", self._session_id)

    async def _request(self, replica: Replica, frames: range) -> LivePoses:
        """What a transport does with a message, inside the replica; and the judgement of its outcome."""
        world, now_s = self._world, asyncio.get_running_loop().time()
        deadline_s = now_s + self._timeout_s * world.rng.random() + (self._timeout_s if world.is_calm else 0)
        sent = self.frames if self.says_how_many and not frames else None
        request = Request(self._session_id, self._source, frames, sent, now_s, deadline_s, world.store.step)
        try:
            poses = await self._lift(replica, request)
        except ServiceError as error:
            world.judge.check_error(request, replica, error)
            raise
        world.judge.check_poses(request, poses)
        return poses

    async def _lift(self, replica: Replica, request: Request) -> LivePoses:
        if request.ends:
            return await replica.live.end(request.session_id, self._caller, request.sent, deadline=request.deadline_s)
        # A stream keeps the session of its last answer; a single request finds it anew.
        if self._known is not None and self._known[0] is replica and self._world.rng.random() < 0.7:
            session = self._known[1]
        else:
            session = await replica.live.find(request.session_id, self._caller, deadline=request.deadline_s)
        frames = request.frames
        arriving = LiveFrames(frames.start, self._source.keypoints(frames.start, frames.stop))
        poses = await replica.live.advance(session, arriving, deadline=request.deadline_s)
        self._known = replica, poses.session
        return poses

    def _is_lost(self, *, include_ended: bool) -> bool:
        state = self._world.store.state(self._session_id)
        now_s = asyncio.get_running_loop().time()
        return state is None or not state.is_readable(now_s, include_ended=include_ended)
