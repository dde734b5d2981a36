"""A session store in Redis while Redis is slow, gone, empty again, or refuses to write."""

import re
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis
from poselift_service.errors import SessionStoreDown, UnknownSession
from poselift_service.sessions.redis_scripts import session_keys
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.store import Outcome

from tests.integration.redis_process import RedisProcess, running_redis, running_replica, wait_for
from tests.integration.stored_sessions import ID, LONG_S, OPENING, OTHER, TIMEOUT_S, append, frames, kept


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis_store(redis_server: RedisProcess) -> AsyncIterator[RedisStore]:
    """A store without any sessions."""
    redis_server.ask("FLUSHALL")
    store = RedisStore(redis_server.url, ttl_s=60, timeout_s=TIMEOUT_S)
    yield store
    await store.close()


async def test_the_keys_of_a_session_share_a_hash_tag_and_expire(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENING)
    await append(redis_store, 0, 3)
    with redis.Redis(port=redis_server.port) as client:
        keys = sorted(client.scan_iter(f"poselift:*{ID}*"))
        assert keys == [f"poselift:{{{ID}}}:frames".encode(), f"poselift:{{{ID}}}:session".encode()]
        assert all(0 < client.pttl(key) <= 60_000 for key in keys)
        client.delete(keys[0])
    with pytest.raises(UnknownSession):
        await append(redis_store, 3, 4)


async def test_redis_stops_and_starts_again(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENING)
    await append(redis_store, 0, 3)
    redis_server.kill()
    try:
        for call in (append(redis_store, 3, 4), redis_store.open(OTHER, b""), redis_store.close_session(ID)):
            with pytest.raises(SessionStoreDown):
                await call
    finally:
        redis_server.start()
    with pytest.raises(UnknownSession):  # it restarted empty, and the script has to be sent again
        await append(redis_store, 3, 4)
    await redis_store.open(ID, OPENING)
    assert (await append(redis_store, 0, 1)).outcome is Outcome.APPENDED


async def test_an_ended_session_outlives_a_failover(redis_server: RedisProcess):
    """The answer to its end may be lost in it, and has the last poses."""
    store = RedisStore(redis_server.url, ttl_s=600, timeout_s=LONG_S)
    session_id = f"{2:016x}-{1:032x}"  # others expect to be unknown
    await store.open(session_id, OPENING)
    await append(store, 0, 3, session_id=session_id)
    await store.close_session(session_id)
    failover_ms = 45_000
    assert all(redis_server.ask("PTTL", key) > failover_ms for key in session_keys(session_id))
    assert await kept(store, session_id, include_ended=True) == (0, frames(0, 3))
    await store.close()


async def test_a_redis_that_hangs_is_given_up(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENING)
    with redis_server.held_up():
        started = time.monotonic()
        with pytest.raises(SessionStoreDown):
            await append(redis_store, 0, 1)
        assert TIMEOUT_S * 0.9 < time.monotonic() - started < TIMEOUT_S * 3
    # Whether the frame arrived is unknown; resent, it is stored once.
    await append(redis_store, 0, 1)
    assert await kept(redis_store) == (0, frames(0, 1))


@pytest.mark.parametrize("is_replica", [True, False])
async def test_a_server_that_may_not_write_calls_no_session_unknown(
    redis_server: RedisProcess, tmp_path: Path, is_replica: bool
):
    """After a failover it may be the former master, which lacks the sessions of its successor."""
    alone = running_redis(tmp_path, min_replicas_to_write=1)
    with running_replica(tmp_path, redis_server) if is_replica else alone as server:
        store = RedisStore(server.url, ttl_s=60, timeout_s=LONG_S)
        for include_ended in (False, True):
            with pytest.raises(SessionStoreDown):
                await kept(store, OTHER, include_ended=include_ended)
        with pytest.raises(SessionStoreDown):
            await store.is_shared(OTHER)
        await store.close()


@pytest.mark.parametrize("demanded", [0, 1])
async def test_where_replicas_are_demanded_a_session_is_open_once_one_has_it(tmp_path: Path, demanded: int):
    for name in ("master", "replica"):
        (tmp_path / name).mkdir()
    settings = {"min_replicas_to_write": demanded, "min_replicas_max_lag": 600}
    with (
        running_redis(tmp_path / "master", **settings) as master,
        running_replica(tmp_path / "replica", master) as replica,
    ):
        if demanded:  # a master counts its replicas once a second, and the first answer of one may take as long
            wait_for(lambda: master.ask("INFO", "replication")["min_slaves_good_slaves"] == 1, "no replica counts")
        with redis.Redis(port=master.port) as client:
            client.set("first", "")
            assert client.wait(1, 60_000) == 1
        store = RedisStore(master.url, ttl_s=60, timeout_s=TIMEOUT_S)
        await store.open(ID, OPENING)
        assert replica.ask("EXISTS", session_keys(ID)[0]) == 1 or not demanded
        with replica.held_up(), pytest.raises(SessionStoreDown) if demanded else nullcontext():
            await store.open(OTHER, OPENING)
        await store.open(OTHER, OPENING)
        await store.close()


async def test_a_slow_redis_is_waited_for_within_the_timeout(redis_server: RedisProcess):
    redis_server.ask("FLUSHALL")
    store = RedisStore(redis_server.url, ttl_s=60, timeout_s=LONG_S)
    await store.open(ID, OPENING)
    started = time.monotonic()
    redis_server.ask("CLIENT PAUSE", 400)
    assert (await append(store, 0, 1)).outcome is Outcome.APPENDED
    assert time.monotonic() - started > 0.3
    await store.close()


async def test_a_redis_that_starts_later_is_found(tmp_path: Path):
    server = RedisProcess(tmp_path)
    store = RedisStore(server.url, ttl_s=60, timeout_s=TIMEOUT_S)
    with pytest.raises(SessionStoreDown):
        await store.open(ID, OPENING)
    server.start()
    try:
        await store.open(ID, OPENING)
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
async def test_a_refusal_is_logged_once_with_its_reason_and_without_a_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, object], login: str, reason: str
):
    with running_redis(tmp_path, **settings) as server:
        store = RedisStore(server.url.replace("//", f"//{login}"), ttl_s=60, timeout_s=TIMEOUT_S)
        try:
            for _ in range(3):
                with pytest.raises(SessionStoreDown) as failure:
                    await store.open(ID, OPENING)
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
def test_an_invalid_url_is_refused_and_not_repeated(url: str):
    with pytest.raises(ValueError, match="it must be redis://") as refusal:
        RedisStore(url, ttl_s=1, timeout_s=1)
    assert "sec" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("kind", ["session", "frames"])
async def test_a_session_whose_key_holds_something_else_is_unknown(
    redis_server: RedisProcess, redis_store: RedisStore, kind: str
):
    await redis_store.open(ID, OPENING)
    await append(redis_store, 0, 3)
    redis_server.ask("SET", f"poselift:{{{ID}}}:{kind}", "a string")
    for _ in range(2):
        with pytest.raises(UnknownSession):
            await append(redis_store, 3, 4)
    await redis_store.open(ID, OPENING)
    redis_server.ask("HSET", f"poselift:{{{ID}}}:session", "next", "garbage")
    with pytest.raises(UnknownSession):
        await append(redis_store, 0, 1)


async def test_a_session_can_be_looked_for_without_renewing_it(redis_server: RedisProcess, redis_store: RedisStore):
    assert not await redis_store.is_shared(ID)
    await redis_store.open(ID, OPENING)
    redis_server.ask("PEXPIRE", f"poselift:{{{ID}}}:session", 30_000)
    assert await redis_store.is_shared(ID)
    assert redis_server.ask("PTTL", f"poselift:{{{ID}}}:session") <= 30_000
    redis_server.ask("DEL", f"poselift:{{{ID}}}:session")
    assert not await redis_store.is_shared(ID)


async def test_a_full_redis_is_not_said_to_be_unreachable(redis_server: RedisProcess, redis_store: RedisStore):
    await redis_store.open(ID, OPENING)
    redis_server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        for call in (append(redis_store, 0, 1), redis_store.open(OTHER, OPENING)):
            with pytest.raises(SessionStoreDown, match="no memory left"):
                await call
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", 0)
    assert (await append(redis_store, 0, 1)).outcome is Outcome.APPENDED
