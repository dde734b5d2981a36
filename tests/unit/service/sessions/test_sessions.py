"""A replica's view of its sessions, over the store in memory and a clock moved by hand."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from poselift_service.errors import InvalidRequest, Overloaded, SessionConflict, UnknownSession
from poselift_service.sessions.sessions import Opening, Session, Sessions, identity_of
from poselift_service.sessions.store import Arrival, Held, MemoryStore, Stored

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidKeypoints
from poselift.lifting import Sequence
from poselift.skeletons import skeleton

TTL_S = 100.0
RESENDABLE_FRAMES = 32
OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class WatchedStore(MemoryStore):
    """Remembers how many frames it was told and how many it gave back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(ttl_s=TTL_S, clock=clock)
        self.calls: list[tuple[int, int]] = []

    async def advance(self, session_id: str, arrival: Arrival | None, *, held: Held, to_end: bool = False) -> Stored:
        stored = await super().advance(session_id, arrival, held=held, to_end=to_end)
        self.calls.append((len(arrival.frames) if arrival else 0, len(stored.frames)))
        return stored


class RewoundStore(WatchedStore):
    """Can fall back to an earlier moment, as a Redis whose newest writes had not reached its replica or its disk."""

    def remember(self) -> None:
        self._remembered = copy.deepcopy(self._sessions)

    def rewind(self) -> None:
        self._sessions = copy.deepcopy(self._remembered)


@dataclass(frozen=True)
class Replicas:
    clock: Clock
    store: RewoundStore

    def another(self, capacity: int = 10) -> Sessions:
        return Sessions(self.store, ttl_s=TTL_S, capacity=capacity, clock=self.clock)


@pytest.fixture
def replicas() -> Replicas:
    clock = Clock()
    return Replicas(clock, RewoundStore(clock))


def walk(frames: int, seed: int = 0) -> Sequence:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0.5, 400, (frames, 17, 3))
    keypoints[..., 2] = 1
    keypoints[random.random((frames, 17)) < 0.2] = np.nan
    return Sequence(keypoints.astype(np.float32), OPENING.source, 640, 480, Sequence.times_at(50, frames))


def piece(sequence: Sequence, first: int, stop: int) -> Sequence:
    return replace(sequence, keypoints=sequence.keypoints[first:stop], times_s=sequence.times_s[: stop - first])


def same(one: Session, other: Session) -> None:
    assert one.frames.start == other.frames.start
    np.testing.assert_array_equal(one.frames.screen, other.frames.screen)
    np.testing.assert_array_equal(one.frames.imputed, other.frames.imputed)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
async def test_replicas_taking_turns_see_what_one_alone_would_see(
    replicas: Replicas, manifest: Manifest, missing_joints: str
):
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, alone = replicas.another(), replicas.another(), replicas.another()
    whole = walk(60)
    session = await one.open(OPENING, manifest)
    single = await alone.open(OPENING, manifest)
    for frame in range(60):
        arriving = piece(whole, frame, frame + 1)
        replica = other if frame % 3 else one
        seen = await replica.append(await replica.find(session.session_id, manifest), frame, arriving)
        single = await alone.append(single, frame, arriving)
        same(seen, single)
        assert seen.next_frame_index == frame + 1
        assert len(seen.frames.screen) <= seen.window.needed_before + RESENDABLE_FRAMES


async def test_what_this_replica_holds_is_not_sent_again(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(20)
    session = await sessions.open(OPENING, manifest)
    for frame in range(20):
        session = await sessions.append(session, frame, piece(whole, frame, frame + 1))
    assert replicas.store.calls == [(1, 0)] * 20


async def test_a_session_is_opened_the_same_for_every_replica(replicas: Replicas, manifest: Manifest):
    opened = await replicas.another().open(replace(OPENING, lookahead=None), manifest)
    found = await replicas.another().find(opened.session_id, manifest)
    assert (found.opening, found.window.lookahead) == (opened.opening, 2)
    assert identity_of(opened.session_id) == manifest.identity
    assert found.next_frame_index == 0


async def test_reading_again_and_again_keeps_no_more_than_the_window(replicas: Replicas, manifest: Manifest):
    writer, reader, whole = replicas.another(), replicas.another(), walk(50)
    session = await writer.open(OPENING, manifest)
    for frame in range(50):
        session = await writer.append(session, frame, piece(whole, frame, frame + 1))
        same(await reader.read(await reader.find(session.session_id, manifest)), session)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
async def test_the_last_frames_sent_again_at_another_replica(
    replicas: Replicas, manifest: Manifest, missing_joints: str
):
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, whole = replicas.another(), replicas.another(), walk(30)
    session = await one.append(await one.open(OPENING, manifest), 0, piece(whole, 0, 20))
    first = await one.append(session, 20, piece(whole, 20, 30))
    again = await other.append(await other.find(session.session_id, manifest), 20, piece(whole, 20, 30))
    same(again, first)
    stale = await one.append(session, 20, piece(whole, 20, 30))
    same(stale, first)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
@pytest.mark.parametrize("length", [20, 90])
async def test_whatever_has_no_answer_yet_may_be_sent_again(
    replicas: Replicas, manifest: Manifest, missing_joints: str, length: int
):
    """However the frames under way are cut into messages the second time, and whether or not all of them came in."""
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, whole, expected = replicas.another(), walk(length + 5), replicas.another()
    session, single = await one.open(OPENING, manifest), await expected.open(OPENING, manifest)
    for frame in range(length):
        session = await one.append(session, frame, piece(whole, frame, frame + 1))
    for frame in range(length + 5):
        single = await expected.append(single, frame, piece(whole, frame, frame + 1))
    first = max(0, length - RESENDABLE_FRAMES)
    other = replicas.another()
    assert (await other.append(session, first, piece(whole, first, first + 1))).next_frame_index == length
    assert (await other.append(session, first + 1, piece(whole, first + 1, length - 3))).next_frame_index == length
    session = await other.append(session, length - 3, piece(whole, length - 3, length + 5))
    same(replace(session, frames=session.frames.since(length)), replace(single, frames=single.frames.since(length)))
    np.testing.assert_array_equal(
        session.frames.since(single.frames.start).screen, single.frames.since(session.frames.start).screen
    )


async def test_what_was_answered_long_ago_is_refused(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(90)
    session = await sessions.open(OPENING, manifest)
    for frame in range(90):
        session = await sessions.append(session, frame, piece(whole, frame, frame + 1))
    with pytest.raises(SessionConflict) as refusal:
        await sessions.append(session, 89 - RESENDABLE_FRAMES, piece(whole, 89 - RESENDABLE_FRAMES, 90))
    assert refusal.value.expected_frame_index == 90


async def test_a_conflict_changes_nothing(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(9)
    session = await sessions.append(await sessions.open(OPENING, manifest), 0, piece(whole, 0, 5))
    with pytest.raises(SessionConflict) as refusal:
        await sessions.append(session, 6, piece(whole, 0, 2))
    assert refusal.value.expected_frame_index == 5
    same(await sessions.read(session), session)


async def test_when_the_store_has_lost_its_newest_frames_its_word_counts(replicas: Replicas, manifest: Manifest):
    ahead, whole = replicas.another(), walk(6)
    opened = await ahead.open(OPENING, manifest)
    session = await ahead.append(opened, 0, piece(whole, 0, 4))
    await replicas.store.open(
        session.session_id, b'{"source":"coco17","width_px":1,"height_px":1,"fps":50,"lookahead":1}'
    )
    fresh = await replicas.another().append(opened, 0, piece(whole, 0, 2))
    with pytest.raises(SessionConflict):
        await ahead.append(session, 4, piece(whole, 4, 5))
    same(await ahead.read(session), fresh)


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
@pytest.mark.parametrize("others", [1, 9, 10, 11])
async def test_frames_of_a_past_that_is_gone_are_not_mixed_with_new_ones(
    replicas: Replicas, manifest: Manifest, missing_joints: str, others: int
):
    """The store forgets ten frames, and others take their place before a replica that holds them sees the session."""
    manifest = manifest.model_copy(update={"missing_joints": missing_joints})
    one, other, alone = replicas.another(), replicas.another(), replicas.another()
    forgotten, whole = walk(60, seed=1), walk(60)
    session, single = await one.open(OPENING, manifest), await alone.open(OPENING, manifest)
    session = await one.append(session, 0, piece(whole, 0, 30))
    replicas.store.remember()
    for frame in range(30, 40):
        session = await one.append(session, frame, piece(forgotten, frame, frame + 1))
    replicas.store.rewind()
    for frame in range(30, 30 + others):
        await other.append(await other.find(session.session_id, manifest), frame, piece(whole, frame, frame + 1))
    stop = 30 + others
    seen = await one.append(await one.find(session.session_id, manifest), stop, piece(whole, stop, stop + 1))
    single = await alone.append(single, 0, piece(whole, 0, 30))
    for frame in range(30, stop + 1):
        single = await alone.append(single, frame, piece(whole, frame, frame + 1))
    same(seen, single)
    same(await other.read(seen), single)


async def test_sessions_expire_and_make_room(replicas: Replicas, manifest: Manifest):
    sessions = replicas.another(capacity=2)
    one, _ = await sessions.open(OPENING, manifest), await sessions.open(OPENING, manifest)
    replicas.clock.now += 60
    await sessions.append(one, 0, walk(1))
    with pytest.raises(Overloaded) as refusal:
        await sessions.open(OPENING, manifest)
    assert refusal.value.retry_after_s == 40
    replicas.clock.now += 40
    await sessions.open(OPENING, manifest)
    replicas.clock.now += 60
    with pytest.raises(UnknownSession):
        await sessions.append(one, 1, walk(1))
    with pytest.raises(UnknownSession):
        await sessions.find(one.session_id, manifest)


async def test_a_copy_that_had_to_go_is_read_again(replicas: Replicas, manifest: Manifest):
    opener, small, whole = replicas.another(), replicas.another(capacity=1), walk(4)
    ids = [(await opener.open(OPENING, manifest)).session_id for _ in range(3)]
    for frame in range(4):
        for session_id in ids:
            session = await small.append(await small.find(session_id, manifest), frame, piece(whole, frame, frame + 1))
            assert session.next_frame_index == frame + 1


async def test_a_closed_session_is_unknown(replicas: Replicas, manifest: Manifest):
    sessions = replicas.another()
    session = await sessions.open(OPENING, manifest)
    await sessions.close_session(session)
    with pytest.raises(UnknownSession):
        await sessions.find(session.session_id, manifest)
    with pytest.raises(UnknownSession):
        await sessions.append(session, 0, walk(1))


async def test_the_end_can_be_read_at_every_replica_for_a_moment(replicas: Replicas, manifest: Manifest):
    sessions, whole = replicas.another(), walk(4)
    session = await sessions.append(await sessions.open(OPENING, manifest), 0, whole)
    await sessions.close_session(session)
    replicas.clock.now += 9
    for replica in (sessions, replicas.another()):
        same(await replica.read_to_end(session.session_id, manifest), session)
    replicas.clock.now += 2
    with pytest.raises(UnknownSession):
        await sessions.read_to_end(session.session_id, manifest)


@pytest.mark.parametrize("session_id", ["", "x", "0123456789abcdef", "0123456789abcdef-" + "0" * 31, "../" * 20])
def test_a_name_that_no_session_has_is_not_even_looked_up(session_id: str):
    with pytest.raises(UnknownSession):
        identity_of(session_id)


@pytest.mark.parametrize("fps", [0.5, 241, float("nan"), float("inf")])
def test_a_frame_rate_that_is_none_of_a_live_stream_is_refused(fps: float):
    with pytest.raises(InvalidRequest) as refusal:
        replace(OPENING, fps=fps)
    assert refusal.value.path == "fps"


async def test_a_lookahead_that_the_window_does_not_have_is_refused(replicas: Replicas, manifest: Manifest):
    with pytest.raises(InvalidKeypoints, match="0 to 2 frames"):
        await replicas.another().open(replace(OPENING, lookahead=3), manifest)


async def test_what_becomes_of_sessions_is_told(replicas: Replicas, manifest: Manifest):
    told: list[str] = []
    one = Sessions(replicas.store, ttl_s=TTL_S, capacity=10, observe=told.append, clock=replicas.clock)
    left, ended, gone = [await one.open(OPENING, manifest) for _ in range(3)]
    assert one.held == 3
    await one.close_session(ended)
    await replicas.store.close_session(gone.session_id)
    with pytest.raises(UnknownSession):
        await one.read(gone)
    assert (told, one.held) == (["opened"] * 3 + ["closed", "lost"], 1)
    replicas.clock.now += TTL_S + 1
    with pytest.raises(UnknownSession):
        await one.find(left.session_id, manifest)
    assert (told[5:], one.held) == (["expired"], 0)
