"""Both stores keep the same promises; those of Redis also when it is slow, gone, or has lost what it knew."""

import asyncio
import random
import re
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis
from poselift_service.errors import SessionConflict, SessionStoreDown, UnknownSession
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.store import EMPTY_CURSOR, Append, Outcome, ReplicaCursor, SessionStore, StoreReply

from tests.integration.redis_process import RedisProcess, running_cluster, running_redis, running_sentinel

ID, OTHER = f"{1:016x}-{1:032x}", f"{1:016x}-{2:032x}"
OPENED = b'{"any": "bytes"}\x00\xff'
STAMP, OTHER_STAMP = b"\x00one\xff\r\n ", b"\x00another"
TTL_S = 2.0
TIMEOUT_S = 1.0
PATIENT_S = 60.0

MakeStore = Callable[[float, float], SessionStore]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def single(redis_server: RedisProcess) -> str:
    return redis_server.url


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def sentinel(redis_server: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_sentinel(tmp_path_factory.mktemp("sentinel"), redis_server) as url:
        yield url


@pytest.fixture(params=["memory", "single", "cluster", "sentinel"])
def make(request: pytest.FixtureRequest) -> MakeStore:
    """Makes a store from a time to live and the time that a call has."""
    if request.param == "memory":
        return lambda ttl_s, timeout_s: MemoryStore(ttl_s=ttl_s)
    url = request.getfixturevalue(request.param)
    return lambda ttl_s, timeout_s: RedisStore(url, ttl_s=ttl_s, timeout_s=timeout_s)


@pytest.fixture
async def store(make: MakeStore) -> AsyncIterator[SessionStore]:
    store = make(TTL_S, TIMEOUT_S)
    await store.open(ID, OPENED)
    yield store
    await store.close_session(ID)
    await store.close()


@pytest.fixture
async def redis_store(redis_server: RedisProcess) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_server.url, ttl_s=60, timeout_s=TIMEOUT_S)
    yield store
    await store.close_session(ID)
    await store.close()


def frames(first: int, stop: int) -> list[bytes]:
    return [b"frame %d \x00\xff" % index for index in range(first, stop)]


async def append(
    store: SessionStore,
    first: int,
    stop: int,
    *,
    held: int | None = None,
    before: int = 1000,
    session_id: str = ID,
) -> StoreReply:
    """Send frames from a replica that holds those before the index `held`.

    Args:
        before: frames before the first one that are needed, and kept.
    """
    arrival = Append(first, frames(first, stop), STAMP, needed_before=before, kept_before=before)
    return await store.advance(session_id, arrival, cursor=ReplicaCursor(first if held is None else held, STAMP))


async def kept(store: SessionStore, session_id: str = ID, *, include_ended: bool = False) -> tuple[int, list[bytes]]:
    stored = await store.advance(session_id, None, cursor=EMPTY_CURSOR, include_ended=include_ended)
    assert stored.outcome is Outcome.UNCHANGED
    assert stored.first == stored.kept_first
    return stored.first, list(stored.frames)


async def test_frames_are_appended_and_kept(store: SessionStore):
    for first, stop in ((0, 1), (1, 4), (4, 5)):
        assert await append(store, first, stop) == StoreReply(Outcome.APPENDED, OPENED, 0, first, [], STAMP)
    assert await kept(store) == (0, frames(0, 5))


async def test_a_replica_gets_only_what_it_lacks(store: SessionStore):
    await append(store, 0, 6)
    assert await append(store, 6, 7, held=2) == StoreReply(Outcome.APPENDED, OPENED, 0, 2, frames(2, 6), STAMP)
    for held, lacked in ((5, frames(5, 7)), (7, [])):
        answer = await store.advance(ID, None, cursor=ReplicaCursor(held, STAMP))
        assert answer == StoreReply(Outcome.UNCHANGED, OPENED, 0, held, lacked, STAMP)


@pytest.mark.parametrize(
    "held", [ReplicaCursor(9, STAMP), ReplicaCursor(3, OTHER_STAMP), ReplicaCursor(1, OTHER_STAMP)]
)
async def test_a_replica_that_holds_other_frames_than_there_are_gets_all_and_appends_nothing(
    store: SessionStore, held: ReplicaCursor
):
    await append(store, 0, 3)
    everything = StoreReply(Outcome.DIVERGED, OPENED, 0, 0, frames(0, 3), STAMP)
    assert await store.advance(ID, None, cursor=held) == everything
    for first, stop in ((3, 4), (2, 3)):
        arrival = Append(first, frames(first, stop), OTHER_STAMP, needed_before=0, kept_before=1000)
        assert await store.advance(ID, arrival, cursor=held) == everything
    assert await kept(store) == (0, frames(0, 3))


async def test_the_stamp_of_the_newest_frame_is_told(store: SessionStore):
    await append(store, 0, 3)
    arrival = Append(2, frames(2, 5), OTHER_STAMP, needed_before=0, kept_before=1000)
    answers = [
        await store.advance(ID, arrival, cursor=ReplicaCursor(1, STAMP)),
        await store.advance(ID, arrival, cursor=ReplicaCursor(5, OTHER_STAMP)),
        await store.advance(ID, None, cursor=ReplicaCursor(3, STAMP)),
        await store.advance(ID, None, cursor=EMPTY_CURSOR),
    ]
    assert [answer.stamp for answer in answers] == [OTHER_STAMP] * 4
    assert [answer.outcome for answer in answers] == [Outcome.APPENDED] + [Outcome.UNCHANGED] * 3
    assert (await store.advance(ID, None, cursor=ReplicaCursor(3, OTHER_STAMP))).outcome is Outcome.DIVERGED


async def test_what_is_older_than_all_that_is_kept_does_not_matter(store: SessionStore):
    for first in range(20):
        await append(store, first, first + 1, before=4)
    for held in (ReplicaCursor(15, OTHER_STAMP), ReplicaCursor(2, OTHER_STAMP)):
        assert (await store.advance(ID, None, cursor=held)).outcome is Outcome.UNCHANGED
    assert (await store.advance(ID, None, cursor=ReplicaCursor(16, OTHER_STAMP))).outcome is Outcome.DIVERGED


@pytest.mark.parametrize(("first", "stop"), [(4, 7), (6, 7), (2, 6), (6, 9)])
async def test_other_frames_than_those_that_are_there_are_refused_and_change_nothing(
    store: SessionStore, first: int, stop: int
):
    await append(store, 0, 7)
    for wrong in range(first, min(stop, 7)):
        sent = frames(first, stop)
        sent[wrong - first] += b"!"
        arrival = Append(first, sent, OTHER_STAMP, needed_before=0, kept_before=1000)
        with pytest.raises(SessionConflict) as refusal:
            await store.advance(ID, arrival, cursor=ReplicaCursor(7, STAMP))
        assert refusal.value.expected_frame_index == 7
    assert await kept(store) == (0, frames(0, 7))


async def test_frames_that_nobody_needs_are_dropped(store: SessionStore):
    for first in range(20):
        stored = await append(store, first, first + 1, before=4)
        assert stored.kept_first == max(0, first - 4)
    assert await kept(store) == (15, frames(15, 20))
    await append(store, 20, 30, before=4)
    assert await kept(store) == (16, frames(16, 30)), "what lifts the whole last request again is kept"


async def test_more_may_be_kept_than_is_needed(store: SessionStore):
    for first in range(20):
        arrival = Append(first, frames(first, first + 1), STAMP, needed_before=4, kept_before=7)
        assert (await store.advance(ID, arrival, cursor=ReplicaCursor(first, STAMP))).kept_first == max(0, first - 7)
    await append(store, 16, 17, before=4)
    with pytest.raises(SessionConflict):
        await append(store, 15, 16, before=4)


@pytest.mark.parametrize(("first", "stop"), [(4, 7), (5, 7), (6, 7), (4, 5), (2, 6), (0, 7), (0, 1)])
async def test_frames_that_are_there_change_nothing(store: SessionStore, first: int, stop: int):
    await append(store, 0, 4)
    await append(store, 4, 7)
    before = await kept(store)
    stored = await append(store, first, stop, held=0)
    assert (stored.outcome, stored.frames) == (Outcome.UNCHANGED, frames(0, 7))
    assert await kept(store) == before


@pytest.mark.parametrize(("first", "stop"), [(4, 8), (6, 9), (0, 8)])
async def test_of_frames_that_are_partly_there_the_others_are_appended(store: SessionStore, first: int, stop: int):
    await append(store, 0, 4)
    await append(store, 4, 7)
    stored = await append(store, first, stop, held=5)
    assert (stored.outcome, stored.first, stored.frames) == (Outcome.APPENDED, 5, frames(5, 7))
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


async def test_sessions_do_not_touch_each_other(store: SessionStore):
    await store.open(OTHER, b"other")
    await append(store, 0, 3)
    await append(store, 0, 1, session_id=OTHER)
    assert await kept(store) == (0, frames(0, 3))
    await store.close_session(OTHER)
    assert await kept(store) == (0, frames(0, 3))
    with pytest.raises(UnknownSession):
        await kept(store, OTHER)


async def test_what_was_never_opened_or_was_closed_is_unknown(store: SessionStore):
    with pytest.raises(UnknownSession):
        await append(store, 0, 1, session_id=OTHER)
    await append(store, 0, 1)
    await store.close_session(ID)
    await store.close_session(ID)
    for first in (0, 1):
        with pytest.raises(UnknownSession):
            await append(store, first, first + 1)


async def test_the_end_of_a_session_can_be_read_again_for_a_moment(store: SessionStore):
    await append(store, 0, 3)
    assert await kept(store, include_ended=True) == (0, frames(0, 3))
    for _ in range(2):
        await store.close_session(ID)
        assert await kept(store, include_ended=True) == (0, frames(0, 3))
    with pytest.raises(UnknownSession):
        await append(store, 3, 4)
    await asyncio.sleep(TTL_S * 0.6)
    assert await kept(store, include_ended=True) == (0, frames(0, 3))
    await asyncio.sleep(TTL_S * 0.6)
    with pytest.raises(UnknownSession):
        await kept(store, include_ended=True)


async def test_of_two_replicas_that_send_the_same_frame_one_appends_it(store: SessionStore):
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


def names(number: int) -> list[str]:
    return [f"{2:016x}-{index:032x}" for index in range(number)]


async def test_hundreds_of_sessions_at_once(make: MakeStore):
    """More than there may be connections."""
    store = make(PATIENT_S, PATIENT_S)
    await asyncio.gather(*(store.open(session_id, OPENED) for session_id in names(300)))
    for first in range(3):
        answers = await asyncio.gather(
            *(append(store, first, first + 1, session_id=session_id) for session_id in names(300))
        )
        assert {answer.outcome for answer in answers} == {Outcome.APPENDED}
    await store.close()


async def test_a_caller_that_leaves_gets_nobody_else_a_wrong_answer(make: MakeStore):
    """Wherever it is when it leaves, and whoever uses its connection after it."""
    store = make(PATIENT_S, PATIENT_S)

    async def stream(session_id: str, seed: int) -> None:
        leaves = random.Random(seed)
        await store.open(session_id, session_id.encode())
        for index in range(15):
            arrival = Append(index, [b"%d of %d" % (index, seed)], STAMP, needed_before=0, kept_before=1000)
            call = asyncio.create_task(store.advance(session_id, arrival, cursor=ReplicaCursor(index, STAMP)))
            for _ in range(leaves.randrange(12)):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await store.advance(session_id, arrival, cursor=ReplicaCursor(index, STAMP))
        stored = await store.advance(session_id, None, cursor=EMPTY_CURSOR)
        assert stored.opening == session_id.encode()
        assert stored.frames == [b"%d of %d" % (index, seed) for index in range(15)]

    await asyncio.gather(*(stream(session_id, seed) for seed, session_id in enumerate(names(20))))
    await store.close()


async def test_the_keys_of_a_session_share_a_hash_tag_and_expire(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENED)
    await append(redis_store, 0, 3)
    with redis.Redis(port=redis_server.port) as client:
        keys = sorted(client.scan_iter(f"poselift:*{ID}*"))
        assert keys == [f"poselift:{{{ID}}}:frames".encode(), f"poselift:{{{ID}}}:session".encode()]
        assert all(0 < client.pttl(key) <= 60_000 for key in keys)
        client.delete(keys[0])
    with pytest.raises(UnknownSession):
        await append(redis_store, 3, 4)


async def test_redis_gone_and_back(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENED)
    await append(redis_store, 0, 3)
    redis_server.kill()
    try:
        for call in (append(redis_store, 3, 4), redis_store.open(OTHER, b""), redis_store.close_session(ID)):
            with pytest.raises(SessionStoreDown):
                await call
    finally:
        redis_server.start()
    with pytest.raises(UnknownSession):  # it came back without its memory, and the script has to be sent again
        await append(redis_store, 3, 4)
    await redis_store.open(ID, OPENED)
    assert (await append(redis_store, 0, 1)).outcome is Outcome.APPENDED


async def test_slow_redis_is_given_up(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENED)
    with redis_server.held_up():
        started = time.monotonic()
        with pytest.raises(SessionStoreDown):
            await append(redis_store, 0, 1)
        assert TIMEOUT_S * 0.9 < time.monotonic() - started < TIMEOUT_S * 3
    # Whether the frame arrived is not known; sent again it is there once.
    await append(redis_store, 0, 1)
    assert await kept(redis_store) == (0, frames(0, 1))


async def test_redis_that_is_slow_but_not_too_slow_is_waited_for(redis_server: RedisProcess):
    store = RedisStore(redis_server.url, ttl_s=60, timeout_s=PATIENT_S)
    await store.open(ID, OPENED)
    started = time.monotonic()
    redis_server.ask("CLIENT PAUSE", 400)
    assert (await append(store, 0, 1)).outcome is Outcome.APPENDED
    assert time.monotonic() - started > 0.3
    await store.close()


async def test_redis_that_starts_later_is_found(tmp_path: Path):
    server = RedisProcess(tmp_path)
    store = RedisStore(server.url, ttl_s=60, timeout_s=TIMEOUT_S)
    with pytest.raises(SessionStoreDown):
        await store.open(ID, OPENED)
    server.start()
    try:
        await store.open(ID, OPENED)
        assert (await append(store, 0, 1)).outcome is Outcome.APPENDED
    finally:
        await store.close()
        server.kill()


@pytest.mark.parametrize(
    ("settings", "login", "reason"),
    [
        ({"requirepass": "right"}, ":hunter2%2F@", "WRONGPASS|invalid username-password"),
        (
            {"requirepass": "right"},
            "",
            "NOAUTH|Authentication required|HELLO must be called with the client already authenticated",
        ),
        ({"maxmemory": 1}, "", "OOM|maxmemory"),
        ({"min_replicas_to_write": 1}, "", "NOREPLICAS|Not enough good replicas"),
        ({"replicaof": "127.0.0.1 1", "replica_serve_stale_data": "yes"}, "", "read only replica"),
    ],
    ids=["wrong password", "no password", "no memory", "no replica", "read-only"],
)
async def test_when_redis_refuses_the_log_says_why_once_and_tells_no_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, object], login: str, reason: str
):
    with running_redis(tmp_path, **settings) as server:
        store = RedisStore(server.url.replace("//", f"//{login}"), ttl_s=60, timeout_s=TIMEOUT_S)
        try:
            for _ in range(3):
                with pytest.raises(SessionStoreDown) as failure:
                    await store.open(ID, OPENED)
        finally:
            await store.close()
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "poselift_service.sessions.redis_store"
    ]
    assert re.search(reason, line), line
    assert "hunter2" not in caplog.text + "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@localhost",
        "redis://:sec/ret@localhost",
        "redis://:secret@localhost:secret",
        "redis+sentinel://:secret@localhost:26379",
        "redis+cluster://:secret@localhost",
        "redis+cluster://localhost:1/:secret@localhost:secret",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_not_repeated(url: str):
    with pytest.raises(ValueError, match="it must be redis://") as refusal:
        RedisStore(url, ttl_s=1, timeout_s=1)
    assert "sec" not in "".join(traceback.format_exception(refusal.value))
