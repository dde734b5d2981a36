"""The rules that every session store keeps, in memory and in Redis: a single server, a cluster, and behind Sentinel."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from poselift_service.errors import SessionConflict, UnknownSession
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.store import (
    EMPTY_CURSOR,
    Append,
    MotionStates,
    Outcome,
    ReplicaCursor,
    SessionStore,
    StoreReply,
)

from tests.integration.redis_process import RedisProcess, running_cluster, running_redis, running_sentinel
from tests.integration.stored_sessions import (
    ID,
    LONG_S,
    OPENING,
    OTHER,
    OTHER_STAMP,
    STAMP,
    TIMEOUT_S,
    TTL_S,
    append,
    frames,
    kept,
)

Deployment = tuple[str, list[RedisProcess]]
"""The URL of a store for the service, and the masters behind it."""
MakeStore = Callable[[float, float], SessionStore]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def single(redis_server: RedisProcess) -> Deployment:
    return redis_server.url, [redis_server]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.url, cluster.nodes


@pytest.fixture(scope="module")
def sentinel(redis_server: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_sentinel(tmp_path_factory.mktemp("sentinel"), redis_server) as url:
        yield url, [redis_server]


@pytest.fixture(params=["memory", "single", "cluster", "sentinel"])
def make(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """A function that creates a store, without any sessions at first, from a time to live and a timeout."""
    if request.param == "memory":
        yield lambda ttl_s, timeout_s: MemoryStore(ttl_s=ttl_s)
        return
    url, masters = request.getfixturevalue(request.param)
    for master in masters:
        master.ask("FLUSHALL")
    yield lambda ttl_s, timeout_s: RedisStore(url, ttl_s=ttl_s, timeout_s=timeout_s)


@pytest.fixture
async def store(make: MakeStore) -> AsyncIterator[SessionStore]:
    store = make(TTL_S, TIMEOUT_S)
    await store.open(ID, OPENING)
    yield store
    await store.close_session(ID)
    await store.close()


async def test_an_opening_that_is_repeated_late_takes_no_frames(store: SessionStore):
    await append(store, 0, 3)
    await store.open(ID, OPENING)
    assert await kept(store) == (0, frames(0, 3))
    await store.close_session(ID)
    await store.open(ID, OPENING)
    with pytest.raises(UnknownSession):
        await kept(store)
    assert await kept(store, include_ended=True) == (0, frames(0, 3))


async def test_frames_are_appended_and_kept(store: SessionStore):
    for first, stop in ((0, 1), (1, 4), (4, 5)):
        assert await append(store, first, stop) == StoreReply(Outcome.APPENDED, OPENING, 0, first, [], STAMP)
    assert await kept(store) == (0, frames(0, 5))


async def test_a_replica_gets_only_the_frames_it_lacks(store: SessionStore):
    await append(store, 0, 6)
    assert await append(store, 6, 7, held=2) == StoreReply(Outcome.APPENDED, OPENING, 0, 2, frames(2, 6), STAMP)
    for held, lacked in ((5, frames(5, 7)), (7, [])):
        answer = await store.advance(ID, None, cursor=ReplicaCursor(held, STAMP))
        assert answer == StoreReply(Outcome.UNCHANGED, OPENING, 0, held, lacked, STAMP)


@pytest.mark.parametrize(
    "cursor", [ReplicaCursor(9, STAMP), ReplicaCursor(3, OTHER_STAMP), ReplicaCursor(1, OTHER_STAMP)]
)
async def test_a_replica_whose_copy_diverges_gets_all_frames_and_appends_nothing(
    store: SessionStore, cursor: ReplicaCursor
):
    await append(store, 0, 3)
    everything = StoreReply(Outcome.DIVERGED, OPENING, 0, 0, frames(0, 3), STAMP)
    assert await store.advance(ID, None, cursor=cursor) == everything
    for first, stop in ((3, 4), (2, 3)):
        sent = Append(first, frames(first, stop), OTHER_STAMP, needed_before=0, kept_before=1000)
        assert await store.advance(ID, sent, cursor=cursor) == everything
    assert await kept(store) == (0, frames(0, 3))


async def test_the_reply_holds_the_stamp_of_the_newest_frame(store: SessionStore):
    await append(store, 0, 3)
    sent = Append(2, frames(2, 5), OTHER_STAMP, needed_before=0, kept_before=1000)
    answers = [
        await store.advance(ID, sent, cursor=ReplicaCursor(1, STAMP)),
        await store.advance(ID, sent, cursor=ReplicaCursor(5, OTHER_STAMP)),
        await store.advance(ID, None, cursor=ReplicaCursor(3, STAMP)),
        await store.advance(ID, None, cursor=EMPTY_CURSOR),
    ]
    assert [answer.stamp for answer in answers] == [OTHER_STAMP] * 4
    assert [answer.outcome for answer in answers] == [Outcome.APPENDED] + [Outcome.UNCHANGED] * 3
    assert (await store.advance(ID, None, cursor=ReplicaCursor(3, OTHER_STAMP))).outcome is Outcome.DIVERGED


async def test_a_cursor_older_than_all_kept_frames_cannot_diverge(store: SessionStore):
    for first in range(20):
        await append(store, first, first + 1, before=4)
    for cursor in (ReplicaCursor(15, OTHER_STAMP), ReplicaCursor(2, OTHER_STAMP)):
        assert (await store.advance(ID, None, cursor=cursor)).outcome is Outcome.UNCHANGED
    assert (await store.advance(ID, None, cursor=ReplicaCursor(16, OTHER_STAMP))).outcome is Outcome.DIVERGED


@pytest.mark.parametrize(("first", "stop"), [(4, 7), (6, 7), (2, 6), (6, 9)])
async def test_frames_that_differ_from_the_stored_ones_are_refused_and_change_nothing(
    store: SessionStore, first: int, stop: int
):
    await append(store, 0, 7)
    for wrong in range(first, min(stop, 7)):
        changed = frames(first, stop)
        changed[wrong - first] += b"!"
        sent = Append(first, changed, OTHER_STAMP, needed_before=0, kept_before=1000)
        with pytest.raises(SessionConflict) as refusal:
            await store.advance(ID, sent, cursor=ReplicaCursor(7, STAMP))
        assert refusal.value.expected_frame_index == 7
    assert await kept(store) == (0, frames(0, 7))


async def test_frames_that_are_no_longer_needed_are_dropped(store: SessionStore):
    for first in range(20):
        reply = await append(store, first, first + 1, before=4)
        assert reply.kept_first == max(0, first - 4)
    assert await kept(store) == (15, frames(15, 20))
    await append(store, 20, 30, before=4)
    assert await kept(store) == (16, frames(16, 30)), "all frames needed to lift the last request again are kept"


async def test_more_may_be_kept_than_is_needed(store: SessionStore):
    for first in range(20):
        sent = Append(first, frames(first, first + 1), STAMP, needed_before=4, kept_before=7)
        assert (await store.advance(ID, sent, cursor=ReplicaCursor(first, STAMP))).kept_first == max(0, first - 7)
    await append(store, 16, 17, before=4)
    with pytest.raises(SessionConflict):
        await append(store, 15, 16, before=4)


@pytest.mark.parametrize(("first", "stop"), [(4, 7), (5, 7), (6, 7), (4, 5), (2, 6), (0, 7), (0, 1)])
async def test_resent_frames_change_nothing(store: SessionStore, first: int, stop: int):
    await append(store, 0, 4)
    await append(store, 4, 7)
    before = await kept(store)
    reply = await append(store, first, stop, held=0)
    assert (reply.outcome, reply.frames) == (Outcome.UNCHANGED, frames(0, 7))
    assert await kept(store) == before


@pytest.mark.parametrize(("first", "stop"), [(4, 8), (6, 9), (0, 8)])
async def test_of_partly_resent_frames_only_the_new_ones_are_appended(store: SessionStore, first: int, stop: int):
    await append(store, 0, 4)
    await append(store, 4, 7)
    reply = await append(store, first, stop, held=5)
    assert (reply.outcome, reply.first, reply.frames) == (Outcome.APPENDED, 5, frames(5, 7))
    assert await kept(store) == (0, frames(0, stop))


@pytest.mark.parametrize(("first", "stop"), [(8, 9), (100, 101), (3, 7), (3, 8), (0, 1)])
async def test_a_gap_or_an_older_frame_is_refused_and_changes_nothing(store: SessionStore, first: int, stop: int):
    await append(store, 0, 4, before=2)
    await append(store, 4, 7, before=2)
    with pytest.raises(SessionConflict) as refusal:
        await append(store, first, stop, before=2)
    assert refusal.value.expected_frame_index == 7
    assert "frame 7" in refusal.value.message
    assert await kept(store) == (2, frames(2, 7))


async def test_sessions_are_independent(store: SessionStore):
    await store.open(OTHER, b"other")
    await append(store, 0, 3)
    await append(store, 0, 1, session_id=OTHER)
    assert await kept(store) == (0, frames(0, 3))
    await store.close_session(OTHER)
    assert await kept(store) == (0, frames(0, 3))
    with pytest.raises(UnknownSession):
        await kept(store, OTHER)


async def test_a_session_never_opened_or_already_closed_is_unknown(store: SessionStore):
    with pytest.raises(UnknownSession):
        await append(store, 0, 1, session_id=OTHER)
    await append(store, 0, 1)
    await store.close_session(ID)
    await store.close_session(ID)
    for first in (0, 1):
        with pytest.raises(UnknownSession):
            await append(store, first, first + 1)


async def test_an_ended_session_stays_readable_for_a_moment(store: SessionStore):
    await append(store, 0, 3)
    assert await kept(store, include_ended=True) == (0, frames(0, 3))
    for _ in range(2):
        await store.close_session(ID)
        assert await kept(store, include_ended=True) == (0, frames(0, 3))
        assert (await store.advance(ID, None, cursor=EMPTY_CURSOR, include_ended=True)).has_ended
    with pytest.raises(UnknownSession):
        await append(store, 3, 4)
    await asyncio.sleep(TTL_S * 0.6)
    assert await kept(store, include_ended=True) == (0, frames(0, 3))
    await asyncio.sleep(TTL_S * 0.6)
    with pytest.raises(UnknownSession):
        await kept(store, include_ended=True)


async def test_of_several_replicas_that_send_the_same_frame_one_appends_it(store: SessionStore):
    for first in range(20):
        answers = await asyncio.gather(*(append(store, first, first + 1) for _ in range(4)))
        assert sorted(answer.outcome is Outcome.APPENDED for answer in answers) == [False, False, False, True]
    assert await kept(store) == (0, frames(0, 20))


async def test_a_session_expires_unless_it_is_used(store: SessionStore):
    for first in range(4):
        await asyncio.sleep(TTL_S * 0.4)
        await append(store, first, first + 1)
    await asyncio.sleep(TTL_S * 1.2)
    with pytest.raises(UnknownSession):
        await append(store, 4, 5)


def session_ids(number: int) -> list[str]:
    return [f"{2:016x}-{index:032x}" for index in range(number)]


async def test_hundreds_of_sessions_at_once(make: MakeStore):
    """More than the limit of connections."""
    store = make(LONG_S, LONG_S)
    await asyncio.gather(*(store.open(session_id, OPENING) for session_id in session_ids(300)))
    for first in range(3):
        answers = await asyncio.gather(
            *(append(store, first, first + 1, session_id=session_id) for session_id in session_ids(300))
        )
        assert {answer.outcome for answer in answers} == {Outcome.APPENDED}
    await store.close()


async def test_a_cancelled_call_does_not_mix_up_the_replies_of_others(make: MakeStore):
    """At whatever point it is cancelled, and whoever uses its connection afterwards."""
    store = make(LONG_S, LONG_S)

    async def stream(session_id: str, seed: int) -> None:
        random_steps = random.Random(seed)
        await store.open(session_id, session_id.encode())
        for index in range(15):
            sent = Append(index, [b"%d of %d" % (index, seed)], STAMP, needed_before=0, kept_before=1000)
            call = asyncio.create_task(store.advance(session_id, sent, cursor=ReplicaCursor(index, STAMP)))
            for _ in range(random_steps.randrange(12)):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await store.advance(session_id, sent, cursor=ReplicaCursor(index, STAMP))
        reply = await store.advance(session_id, None, cursor=EMPTY_CURSOR)
        assert reply.opening == session_id.encode()
        assert reply.frames == [b"%d of %d" % (index, seed) for index in range(15)]

    await asyncio.gather(*(stream(session_id, seed) for seed, session_id in enumerate(session_ids(20))))
    await store.close()


def states(*indices: int) -> dict[int, bytes]:
    return {index: b"after %d\r\n\0" % index for index in indices}


async def keep(store: SessionStore, stop: int, oldest: int, *indices: int, stamp: bytes = STAMP) -> None:
    await store.keep_motion(ID, MotionStates(states(*indices), oldest, every=4), cursor=ReplicaCursor(stop, stamp))


async def test_of_states_of_motion_the_newest_and_multiples_are_kept(store: SessionStore):
    assert await store.read_motion(ID) == {}
    await append(store, 0, 20)
    for stop, kept_after in (
        (3, states(3)),
        (5, states(4, 5)),
        (6, states(4, 6)),
        (10, states(4, 8, 10)),
    ):
        await keep(store, 20, 0, *kept_after.keys() - (await store.read_motion(ID)).keys())
        assert await store.read_motion(ID) == kept_after, stop
    await keep(store, 20, 8, 12, 13)
    assert await store.read_motion(ID) == states(8, 12, 13)
    await keep(store, 20, 8, 11)  # a message that was sent again
    assert await store.read_motion(ID) == states(8, 11, 12, 13)


async def test_states_of_motion_of_other_frames_are_not_kept(store: SessionStore):
    await append(store, 0, 6)
    await keep(store, 6, 0, 6, stamp=OTHER_STAMP)
    await keep(store, 7, 0, 7)
    assert await store.read_motion(ID) == {}
    await keep(store, 6, 0, 6)
    assert await store.read_motion(ID) == states(6)


async def test_motion_ends_with_its_session(store: SessionStore):
    await append(store, 0, 6)
    await keep(store, 6, 0, 6)
    assert (await store.advance(ID, None, cursor=EMPTY_CURSOR)).frames == frames(0, 6)
    await store.close_session(ID)
    assert await store.read_motion(ID) == states(6)  # its end may be asked for again
    await store.keep_motion("another", MotionStates(states(3), 0, 4), cursor=ReplicaCursor(3, STAMP))
    assert await store.read_motion("another") == {}
