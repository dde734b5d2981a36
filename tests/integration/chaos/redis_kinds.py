"""The kinds of Redis that replicas may share, with the settings that docs/operations.md recommends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.redis_process import (
    RedisProcess,
    SentinelProcess,
    running_cluster,
    running_redis,
    running_replica,
    running_sentinels,
)

_DOWN_AFTER_MS = 1500
# A restart loses nothing that was answered.
_DURABLE = {"appendonly": "yes", "appendfsync": "always"}
# A master that has no replica any more refuses frames: a failover would lose them.
_REPLICATED = {"appendonly": "yes", "min_replicas_to_write": 1, "min_replicas_max_lag": 2}


@dataclass(frozen=True)
class RedisServers:
    """The processes of one kind of Redis, and its URL for the service.

    Attributes:
        fault_gap_s: shortest and longest time between two faults of its servers; a failover takes some seconds.
    """

    url: str
    nodes: Sequence[RedisProcess]
    fault_gap_s: tuple[float, float]
    sentinels: Sequence[SentinelProcess] = ()


@contextmanager
def _single(folder: Path) -> Iterator[RedisServers]:
    with running_redis(folder, **_DURABLE) as server:
        yield RedisServers(server.url, [server], (1.0, 5.0))


@contextmanager
def _sentinel(folder: Path) -> Iterator[RedisServers]:
    with ExitStack() as stack:
        for name in ("master", "replica"):
            (folder / name).mkdir()
        master = stack.enter_context(running_redis(folder / "master", **_REPLICATED))
        replica = stack.enter_context(running_replica(folder / "replica", master, **_REPLICATED))
        sentinels = stack.enter_context(running_sentinels(folder, master, down_after_ms=_DOWN_AFTER_MS))
        yield RedisServers(sentinels.url, [master, replica], (4.0, 20.0), sentinels.sentinels)


@contextmanager
def _cluster(folder: Path) -> Iterator[RedisServers]:
    with running_cluster(folder, replicas=1, cluster_require_full_coverage="no", **_REPLICATED) as cluster:
        yield RedisServers(cluster.url, cluster.nodes, (2.0, 10.0))


KINDS: dict[str, Callable[[Path], AbstractContextManager[RedisServers]]] = {
    "single": _single,
    "sentinel": _sentinel,
    "cluster": _cluster,
}
