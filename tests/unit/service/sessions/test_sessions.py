"""Replicas that share sessions through a memory store, with a clock set by the test."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from poselift_service.errors import Overloaded, SessionConflict, UnknownSession
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Caller, Opening, Session, identity_of
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import Append, ReplicaCursor, StoreReply

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidKeypoints
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

CALLER = Caller()

TTL_S = 100.0
RESENDABLE_FRAMES = 32
OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingStore(MemoryStore):
    """Counts the frames of each call and of its reply."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(ttl_s=TTL_S, clock=clock)
        self.calls: list[tuple[int, int]] = []

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        reply = await super().advance(session_id, append, cursor=cursor, include_ended=include_ended)
        self.calls.append((len(append.frames) if append else 0, len(reply.frames)))
        return reply


class RewindableStore(CountingStore):
    """Can return to an earlier state, as a Redis that failed over or was restored without its newest writes."""

    def save(self) -> None:
        self._saved = copy.deepcopy(self._sessions)

    def rewind(self) -> None:
        self._sessions = copy.deepcopy(self._saved)


@dataclass(frozen=True)
class Replicas:
    clock: Clock
    store: RewindableStore

    def another(self, capacity: int = 10) -> Sessions:
        return Sessions(self.store, ttl_s=TTL_S, limits=SessionLimits(capacity), clock=self.clock)


@pytest.fixture
def replicas() -> Replicas:
    clock = Clock()
    return Replicas(clock, RewindableStore(clock))


def walk(frames: int, seed: int = 0) -> Sequence:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0.5, 400, (frames, 17, 3))
    keypoints[..., 2] = 1
    keypoints[random.random((frames, 17)) < 0.2] = np.nan
    return Sequence(keypoints.astype(np.float32), OPENING.source, 640, 480, Sequence.times_at(50, frames))


def part(sequence: Sequence, first: int, stop: int) -> Sequence:
    return replace(sequence, keypoints=sequence.keypoints[first:stop], times_s=sequence.times_s[: stop - first])


def assert_same(one: Session, other: Session) -> None:
    assert one.frames.start == other.frames.start
    np.testing.assert_array_equal(one.frames.screen, other.frames.screen)
    np.testing.assert_array_equal(one.frames.imputed, other.frames.imputed)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
async def test_replicas_taking_turns_see_the_same_session_as_one_alone(
    replicas: Replicas, manifest: Manifest, missing_joints: str
):
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, alone = replicas.another(), replicas.another(), replicas.another()
    whole = walk(60)
    session = await one.open(OPENING, manifest, CALLER)
    single = await alone.open(OPENING, manifest, CALLER)
    for frame in range(60):
        arriving = part(whole, frame, frame + 1)
        replica = other if frame % 3 else one
        seen = await replica.append(await replica.find(session.session_id, manifest), frame, arriving)
        single = await alone.append(single, frame, arriving)
        assert_same(seen, single)
        assert seen.next_frame_index == frame + 1
        assert len(seen.frames.screen) <= seen.window.needed_before + RESENDABLE_FRAMES


async def test_frames_that_a_replica_holds_are_not_read_again(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(20)
    session = await sessions.open(OPENING, manifest, CALLER)
    for frame in range(20):
        session = await sessions.append(session, frame, part(whole, frame, frame + 1))
    assert replicas.store.calls == [(1, 0)] * 20


async def test_every_replica_finds_the_same_opening(replicas: Replicas, manifest: Manifest):
    opened = await replicas.another().open(replace(OPENING, lookahead=None), manifest, CALLER)
    found = await replicas.another().find(opened.session_id, manifest)
    assert (found.opening, found.window.lookahead) == (opened.opening, 2)
    assert identity_of(opened.session_id, CALLER) == manifest.identity
    assert found.next_frame_index == 0


async def test_repeated_reads_keep_no_more_than_the_window(replicas: Replicas, manifest: Manifest):
    writer, reader, whole = replicas.another(), replicas.another(), walk(50)
    session = await writer.open(OPENING, manifest, CALLER)
    for frame in range(50):
        session = await writer.append(session, frame, part(whole, frame, frame + 1))
        assert_same(await reader.read(await reader.find(session.session_id, manifest)), session)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
async def test_the_last_frames_may_be_resent_to_another_replica(
    replicas: Replicas, manifest: Manifest, missing_joints: str
):
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, whole = replicas.another(), replicas.another(), walk(30)
    session = await one.append(await one.open(OPENING, manifest, CALLER), 0, part(whole, 0, 20))
    first = await one.append(session, 20, part(whole, 20, 30))
    again = await other.append(await other.find(session.session_id, manifest), 20, part(whole, 20, 30))
    assert_same(again, first)
    stale = await one.append(session, 20, part(whole, 20, 30))
    assert_same(stale, first)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
@pytest.mark.parametrize("length", [20, 90])
async def test_unanswered_frames_may_be_resent(
    replicas: Replicas, manifest: Manifest, missing_joints: str, length: int
):
    """However they are split into messages the second time, and whether or not all of them were stored."""
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, whole, expected = replicas.another(), walk(length + 5), replicas.another()
    session, single = await one.open(OPENING, manifest, CALLER), await expected.open(OPENING, manifest, CALLER)
    for frame in range(length):
        session = await one.append(session, frame, part(whole, frame, frame + 1))
    for frame in range(length + 5):
        single = await expected.append(single, frame, part(whole, frame, frame + 1))
    first = max(0, length - RESENDABLE_FRAMES)
    other = replicas.another()
    assert (await other.append(session, first, part(whole, first, first + 1))).next_frame_index == length
    assert (await other.append(session, first + 1, part(whole, first + 1, length - 3))).next_frame_index == length
    session = await other.append(session, length - 3, part(whole, length - 3, length + 5))
    assert_same(
        replace(session, frames=session.frames.since(length)), replace(single, frames=single.frames.since(length))
    )
    np.testing.assert_array_equal(
        session.frames.since(single.frames.start).screen, single.frames.since(session.frames.start).screen
    )


async def test_frames_answered_long_ago_are_refused(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(90)
    session = await sessions.open(OPENING, manifest, CALLER)
    for frame in range(90):
        session = await sessions.append(session, frame, part(whole, frame, frame + 1))
    with pytest.raises(SessionConflict) as refusal:
        await sessions.append(session, 89 - RESENDABLE_FRAMES, part(whole, 89 - RESENDABLE_FRAMES, 90))
    assert refusal.value.expected_frame_index == 90


async def test_a_conflict_changes_nothing(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(9)
    session = await sessions.append(await sessions.open(OPENING, manifest, CALLER), 0, part(whole, 0, 5))
    with pytest.raises(SessionConflict) as refusal:
        await sessions.append(session, 6, part(whole, 0, 2))
    assert refusal.value.expected_frame_index == 5
    assert_same(await sessions.read(session), session)


async def test_when_the_store_has_lost_its_newest_frames_it_decides(replicas: Replicas, manifest: Manifest):
    ahead, whole = replicas.another(), walk(6)
    opened = await ahead.open(OPENING, manifest, CALLER)
    replicas.store.save()
    session = await ahead.append(opened, 0, part(whole, 0, 4))
    replicas.store.rewind()
    fresh = await replicas.another().append(opened, 0, part(whole, 0, 2))
    with pytest.raises(SessionConflict):
        await ahead.append(session, 4, part(whole, 4, 5))
    assert_same(await ahead.read(session), fresh)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
@pytest.mark.parametrize("replaced", [1, 9, 10, 11])
async def test_lost_frames_are_not_mixed_with_their_replacements(
    replicas: Replicas, manifest: Manifest, missing_joints: str, replaced: int
):
    """The store loses ten frames, and others replace them before a replica with the lost ones reads the session."""
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, alone = replicas.another(), replicas.another(), replicas.another()
    lost, whole = walk(60, seed=1), walk(60)
    session, single = await one.open(OPENING, manifest, CALLER), await alone.open(OPENING, manifest, CALLER)
    session = await one.append(session, 0, part(whole, 0, 30))
    replicas.store.save()
    for frame in range(30, 40):
        session = await one.append(session, frame, part(lost, frame, frame + 1))
    replicas.store.rewind()
    for frame in range(30, 30 + replaced):
        await other.append(await other.find(session.session_id, manifest), frame, part(whole, frame, frame + 1))
    stop = 30 + replaced
    seen = await one.append(await one.find(session.session_id, manifest), stop, part(whole, stop, stop + 1))
    single = await alone.append(single, 0, part(whole, 0, 30))
    for frame in range(30, stop + 1):
        single = await alone.append(single, frame, part(whole, frame, frame + 1))
    assert_same(seen, single)
    assert_same(await other.read(seen), single)


async def test_sessions_expire_and_free_their_capacity(replicas: Replicas, manifest: Manifest):
    sessions = replicas.another(capacity=2)
    one, _ = await sessions.open(OPENING, manifest, CALLER), await sessions.open(OPENING, manifest, CALLER)
    replicas.clock.now += 60
    await sessions.append(one, 0, walk(1))
    with pytest.raises(Overloaded) as refusal:
        await sessions.open(OPENING, manifest, CALLER)
    assert refusal.value.retry_after_s == 40
    replicas.clock.now += 40
    await sessions.open(OPENING, manifest, CALLER)
    replicas.clock.now += 60
    with pytest.raises(UnknownSession):
        await sessions.append(one, 1, walk(1))
    with pytest.raises(UnknownSession):
        await sessions.find(one.session_id, manifest)


async def test_an_evicted_copy_is_read_again(replicas: Replicas, manifest: Manifest):
    opener, small, whole = replicas.another(), replicas.another(capacity=1), walk(4)
    ids = [(await opener.open(OPENING, manifest, CALLER)).session_id for _ in range(3)]
    for frame in range(4):
        for session_id in ids:
            session = await small.append(await small.find(session_id, manifest), frame, part(whole, frame, frame + 1))
            assert session.next_frame_index == frame + 1


async def test_a_closed_session_is_unknown(replicas: Replicas, manifest: Manifest):
    sessions = replicas.another()
    session = await sessions.open(OPENING, manifest, CALLER)
    await sessions.close_session(session)
    with pytest.raises(UnknownSession):
        await sessions.read(session)
    with pytest.raises(UnknownSession):
        await sessions.append(session, 0, walk(1))


async def test_frames_that_an_ended_session_has_can_be_sent_again(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(4)
    session = await sessions.append(await sessions.open(OPENING, manifest, CALLER), 0, whole)
    await sessions.close_session(session)
    other = replicas.another()
    found = await other.find(session.session_id, manifest)
    assert_same(await other.append(found, 0, whole), session)
    with pytest.raises(UnknownSession):
        await other.append(found, 0, walk(5))


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
async def test_no_copy_of_an_ended_session_is_kept(replicas: Replicas, manifest: Manifest, missing_joints: str):
    """It would count as one of those that a replica may have, until it expires."""
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    ending, other, late, whole = replicas.another(), replicas.another(), replicas.another(), walk(4)
    opened = await ending.open(OPENING, manifest, CALLER)
    session = await ending.append(opened, 0, whole)
    await other.append(await other.find(session.session_id, manifest), 0, whole)
    assert (ending.held, other.held) == (1, 1)
    await ending.close_session(session)
    for replica in (ending, other, late):
        assert_same(await replica.append(session, 0, whole), session)
        await replica.append(opened, 0, whole)
        diverged = replace(session, stamp=b"another.")
        assert_same(await replica.append(diverged, 0, whole), session)
    assert (ending.held, other.held, late.held) == (0, 0, 0)


async def test_an_ended_session_is_readable_for_a_moment_at_every_replica(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(4)
    session = await sessions.append(await sessions.open(OPENING, manifest, CALLER), 0, whole)
    await sessions.close_session(session)
    replicas.clock.now += 9
    for replica in (sessions, replicas.another()):
        assert_same(await replica.read_including_ended(session.session_id, manifest), session)
    replicas.clock.now += 2
    with pytest.raises(UnknownSession):
        await sessions.read_including_ended(session.session_id, manifest)


async def test_a_lookahead_beyond_the_window_is_refused(replicas: Replicas, manifest: Manifest):
    with pytest.raises(InvalidKeypoints, match="0 to 2 frames"):
        await replicas.another().open(replace(OPENING, lookahead=3), manifest, CALLER)


async def test_session_events_are_observed(replicas: Replicas, manifest: Manifest):
    events: list[str] = []
    one = Sessions(replicas.store, ttl_s=TTL_S, limits=SessionLimits(10), observe=events.append, clock=replicas.clock)
    left, ended, gone = [await one.open(OPENING, manifest, CALLER) for _ in range(3)]
    assert one.held == 3
    await one.close_session(ended)
    await replicas.store.close_session(gone.session_id)
    with pytest.raises(UnknownSession):
        await one.read(gone)
    assert (events, one.held) == (["opened"] * 3 + ["closed", "lost"], 1)
    replicas.clock.now += TTL_S + 1
    with pytest.raises(UnknownSession):
        await one.find(left.session_id, manifest)
    assert (events[5:], one.held) == (["expired"], 0)
