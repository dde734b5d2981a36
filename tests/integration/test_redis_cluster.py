"""A session store in a Redis cluster whose slots move between its masters."""

from collections.abc import AsyncIterator, Iterator

import pytest
from poselift_service.sessions.redis_scripts import session_keys
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.store import Outcome

from tests.integration.redis_process import ClusterProcesses, RedisProcess, running_cluster
from tests.integration.stored_sessions import ID, OPENING, TIMEOUT_S, append, frames, kept


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def store(cluster: ClusterProcesses) -> AsyncIterator[RedisStore]:
    store = RedisStore(cluster.url, ttl_s=60, timeout_s=TIMEOUT_S)
    await store.open(ID, OPENING)
    yield store
    await store.close_session(ID)
    await store.close()


def moved_replies(node: RedisProcess) -> int:
    """How many calls a server has answered with MOVED."""
    return int(node.ask("INFO", "errorstats").get("errorstat_MOVED", {"count": 0})["count"])


async def test_a_slot_that_has_moved_is_found_and_its_new_master_is_remembered(
    cluster: ClusterProcesses, store: RedisStore
):
    await append(store, 0, 3)
    cluster.move_slot(session_keys(ID)[0])
    before = [moved_replies(node) for node in cluster.nodes]
    for first in range(3, 8):
        assert (await append(store, first, first + 1)).outcome is Outcome.APPENDED
    assert await kept(store) == (0, frames(0, 8))
    after = [moved_replies(node) for node in cluster.nodes]
    assert sum(after) - sum(before) == 1, "only the first call after the move is redirected"
