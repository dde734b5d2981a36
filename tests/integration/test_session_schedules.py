"""Replicas that compete for one session, with random messages, compared with a plain list of frames.

Between rounds, the store may return to an earlier state, like one that fails over or is restored.
"""

import asyncio
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from poselift_service.errors import SessionConflict
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.session import Caller, Opening, Session
from poselift_service.sessions.sessions import Sessions

from poselift.artifacts.manifest import Manifest
from poselift.live_window import KeptFrames, arriving_frames
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.integration.redis_process import RedisProcess, running_redis

CALLER = Caller()

REPLICAS = 3
OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)
NEEDED_BEFORE = 3  # one frame of lookahead, and two before the target in a window of five
LONGEST = 200


@dataclass(frozen=True)
class Message:
    """Frames that a client sends to a replica; a message without frames reads the session.

    Attributes:
        back: number of frames by which they begin before the expected one; negative leaves a gap.
        recording: which of two recordings they are from.
    """

    replica: int
    back: int
    frames: int
    recording: int


@dataclass(frozen=True)
class Round:
    """What happens to the store, and then the messages that are sent at the same time."""

    store_event: Literal["none", "save", "rewind"]
    messages: list[Message]


MESSAGES = st.builds(
    Message,
    replica=st.integers(0, REPLICAS - 1),
    back=st.sampled_from([0, 0, 0, 0, -1, 1, 2, 4, 28, 40]),
    frames=st.sampled_from([1, 1, 1, 2, 4, 0]),
    recording=st.sampled_from([0, 0, 0, 1]),
)
ROUNDS = st.builds(
    Round,
    store_event=st.sampled_from(["none", "none", "none", "save", "rewind"]),
    messages=st.lists(MESSAGES, min_size=1, max_size=4),
)


class RewindableMemory:
    """A memory store that can return to an earlier state."""

    def __init__(self) -> None:
        self.store = MemoryStore(ttl_s=60)

    def save(self) -> None:
        self._saved = copy.deepcopy(self.store._sessions)

    def rewind(self) -> None:
        self.store._sessions = copy.deepcopy(self._saved)


class RewindableRedis:
    """A Redis store that can return to an earlier state."""

    def __init__(self, process: RedisProcess) -> None:
        process.ask("FLUSHALL")
        self.store = RedisStore(process.url, ttl_s=60, timeout_s=10)
        self._process = process

    def save(self) -> None:
        self._saved = {key: self._process.ask("DUMP", key) for key in self._process.ask("KEYS", "*")}

    def rewind(self) -> None:
        self._process.ask("FLUSHALL")
        for key, value in self._saved.items():
            self._process.ask("RESTORE", key, 60_000, value)


Rewindable = RewindableMemory | RewindableRedis


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module", params=["memory", "redis"])
def rewindable(request: pytest.FixtureRequest) -> Callable[[], Rewindable]:
    """A function that creates an empty store."""
    if request.param == "memory":
        return RewindableMemory
    process = request.getfixturevalue("redis_server")
    return lambda: RewindableRedis(process)


def make_recording(seed: int) -> Sequence:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0.5, 400, (LONGEST, 17, 3))
    keypoints[..., 2] = 1
    keypoints[random.random((LONGEST, 17)) < 0.3] = np.nan
    return Sequence(keypoints.astype(np.float32), OPENING.source, 640, 480, Sequence.times_at(50, LONGEST))


RECORDINGS = [make_recording(0), make_recording(1)]


class Schedule:
    """A session, the replicas that receive its frames, and the frames that it should have."""

    def __init__(self, rewindable: Rewindable, manifest: Manifest) -> None:
        self.rewindable = rewindable
        self.manifest = manifest
        self.replicas = [self.another() for _ in range(REPLICAS)]
        self.history = self.saved = KeptFrames.none(manifest)

    def another(self) -> Sessions:
        return Sessions(self.rewindable.store, ttl_s=60, limits=SessionLimits(10))

    async def run(self, rounds: list[Round]) -> None:
        self.session_id = (await self.replicas[0].open(OPENING, self.manifest, CALLER)).session_id
        self.rewindable.save()
        for one in rounds:
            if one.store_event == "save":
                self.rewindable.save()
                self.saved = self.history
            if one.store_event == "rewind":
                self.rewindable.rewind()
                self.history = self.saved
            await self.send_round(one.messages)

    async def send_round(self, messages: list[Message]) -> None:
        before = self.history.stop
        sent = [self.frames_of(message) for message in messages]
        answers = await asyncio.gather(*map(self.send, messages, sent), return_exceptions=True)
        session = await self.another().find(self.session_id, self.manifest)
        for index in range(session.frames.start, before):
            assert same(session.frames, self.history, index), "a frame has changed"
        self.history = self.history.followed_by(session.frames)
        for message, (first, sequence), answer in zip(messages, sent, answers, strict=True):
            asks = message.frames == 0
            if isinstance(answer, Session):
                event("asked" if asks else "taken" if first + message.frames > before else "again")
                self.check_answer(answer, first, None if asks else sequence)
            else:
                assert isinstance(answer, SessionConflict), repr(answer)
                event("refused")
                self.check_refusal(answer, first, sequence, before, session.frames.start)
        alone = len(messages) == 1
        if alone and messages[0].back == 0:
            assert isinstance(answers[0], Session), "the frame that is expected was refused"

    def frames_of(self, message: Message) -> tuple[int, Sequence]:
        first = max(0, self.history.stop - message.back)
        stop = first + max(1, message.frames)
        whole = RECORDINGS[message.recording]
        return first, replace(whole, keypoints=whole.keypoints[first:stop], times_s=whole.times_s[first:stop])

    async def send(self, message: Message, sent: tuple[int, Sequence]) -> Session:
        replica = self.replicas[message.replica]
        session = await replica.find(self.session_id, self.manifest)
        return await (replica.append(session, *sent) if message.frames else replica.read(session))

    def check_answer(self, session: Session, first: int, sequence: Sequence | None) -> None:
        """Check that a replica's copy equals the session's frames and contains the frames that were sent."""
        frames = session.frames
        assert all(same(frames, self.history, index) for index in range(frames.start, frames.stop))
        if sequence is not None:
            assert frames.start <= max(0, first - NEEDED_BEFORE)
            assert frames.stop >= first + len(sequence.keypoints)
            assert self.agrees(first, sequence)

    def check_refusal(self, refusal: SessionConflict, first: int, sequence: Sequence, before: int, oldest: int) -> None:
        assert before <= refusal.expected_frame_index <= self.history.stop
        leaves_a_gap = first > refusal.expected_frame_index
        is_too_old = max(0, first - NEEDED_BEFORE) < oldest
        assert leaves_a_gap or is_too_old or not self.agrees(first, sequence)

    def agrees(self, first: int, sequence: Sequence) -> bool:
        """Whether the session's frames at these indices, as far as there are any, are these."""
        earlier = KeptFrames(0, self.history.screen[:first], self.history.imputed[:first])
        sent = arriving_frames(sequence, self.manifest, first, earlier)
        return all(same(sent, self.history, index) for index in range(first, min(sent.stop, self.history.stop)))


def same(one: KeptFrames, other: KeptFrames, index: int) -> bool:
    i, j = index - one.start, index - other.start
    return np.array_equal(one.screen[i], other.screen[j], equal_nan=True) and np.array_equal(
        one.imputed[i], other.imputed[j]
    )


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
@settings(max_examples=60, deadline=None)
@given(rounds=st.lists(ROUNDS, min_size=1, max_size=12))
def test_replicas_always_lift_the_frames_of_the_session(
    rewindable: Callable[[], Rewindable], missing_joints: Literal["token", "hold"], rounds: list[Round]
):
    manifest = Manifest(
        name="small",
        system="pstmo",
        network={"frames": 5},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints=missing_joints,
        weights_sha256="0123456789abcdef" * 4,
    )

    async def run() -> None:
        fresh = rewindable()
        try:
            await Schedule(fresh, manifest).run(rounds)
        finally:
            await fresh.store.close()

    asyncio.run(run())
