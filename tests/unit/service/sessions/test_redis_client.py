"""Calls over a connection that closes while it opens, which is when uvloop raises an error of its own kind."""

from typing import Any

import pytest
from poselift_service.sessions import redis_cluster
from poselift_service.sessions.redis_client import FAILURES, PipelinedClient
from poselift_service.sessions.redis_cluster import ClusterClient
from poselift_service.sessions.redis_scripts import EXISTS, session_keys
from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

BUG = "dictionary changed size during iteration"
CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed"
KEYS = session_keys("one")


class ScriptedRedis:
    """Stands in for the class of redis-py: every call fails with an error, or has a reply."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def pipeline(self, *, transaction: bool) -> "ScriptedPipeline":
        return ScriptedPipeline(self._error)

    async def execute_command(self, *command: Any) -> Any:
        if self._error is not None:
            raise self._error
        return [[0, REDIS_CLUSTER_HASH_SLOTS - 1, [b"server", 2, b"id"]]]

    async def aclose(self) -> None: ...


class ScriptedPipeline:
    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def execute_command(self, *command: Any) -> None: ...

    async def execute(self, *, raise_on_error: bool) -> list[int]:
        if self._error is not None:
            raise self._error
        return [1]


def client(error: Exception) -> PipelinedClient:
    return PipelinedClient(ScriptedRedis(error), timeout_s=60)  # type: ignore[arg-type]


async def test_a_connection_that_closes_while_it_opens_is_a_failure_of_redis():
    failing = client(RuntimeError(CLOSED))
    for call in (failing.run(EXISTS, KEYS, ()), failing.replicate(KEYS[0], 1000)):
        with pytest.raises(exceptions.ConnectionError, match="closed"):
            await call


async def test_another_error_of_that_kind_is_none():
    """It is a bug of ours, and must not read as a Redis that cannot be reached."""
    assert not issubclass(RuntimeError, FAILURES)
    failing = client(RuntimeError("dictionary changed size during iteration"))
    for call in (failing.run(EXISTS, KEYS, ()), failing.replicate(KEYS[0], 1000)):
        with pytest.raises(RuntimeError, match="changed size"):
            await call


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_cluster_asks_another_server_for_the_slots_where_a_connection_closes(
    is_closed: bool, monkeypatch: pytest.MonkeyPatch
):
    error = RuntimeError(CLOSED if is_closed else BUG)
    monkeypatch.setattr(redis_cluster, "Redis", lambda *, port, **_: ScriptedRedis(error if port == 1 else None))
    cluster = ClusterClient([("server", 1), ("server", 2)], timeout_s=60, login={})
    if is_closed:
        assert await cluster.run(EXISTS, KEYS, ()) == 1
    else:
        with pytest.raises(RuntimeError, match="changed size"):
            await cluster.run(EXISTS, KEYS, ())
    await cluster.close()
