"""A simulated cluster: masters that share the slots, of which any may fail over, or hand slots to another one."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from poselift_service.sessions.redis_cluster import Address, ClusterClient
from poselift_service.sessions.redis_scripts import Command
from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.simulation.sequential_store import SequentialStore
from tests.simulation.simulated_redis import Faults, Network, Reply, ScriptedServer, SimulatedRedis

_SLOTS_PER_RANGE = REDIS_CLUSTER_HASH_SLOTS // 2
_SLOTS = ("CLUSTER", "SLOTS")


class SimulatedCluster(Network):
    """Carries messages to the masters. All keep their keys in one sequential store, for a key has one master.

    Attributes:
        is_down: whether all servers refuse commands, as they do when a majority cannot be reached.
    """

    def __init__(self, store: SequentialStore, faults: Faults, rng: random.Random) -> None:
        super().__init__(ScriptedServer(store), faults, rng)
        self.is_down = False
        # The servers of each range of slots, its master first.
        self._ranges: list[list[Address]] = [[("server", 7000), ("server", 7001)], [("server", 7002), ("server", 7003)]]
        self._servers = {address: ScriptedServer(store) for servers in self._ranges for address in servers}
        self._dead: Address | None = None

    def cluster_client(self, timeout_s: float) -> ClusterClient:
        return ClusterClient(list(self._servers), timeout_s, {})

    def connect(self, *, host: str, port: int, **_: Any) -> "_ClusterServer":
        """Stands in for the class of redis-py."""
        return _ClusterServer(self, (host, port))

    def heal(self) -> None:
        super().heal()
        self.is_down, self._dead = False, None

    def fail_over(self) -> None:
        """Promote the replica of a master, which lacks its newest changes. The master of the last time is back."""
        servers = self._rng.choice(self._ranges)
        servers.reverse()
        self._dead = servers[1]
        self._servers[self._dead].forget_scripts()
        self._note_fault()

    def move_slots(self) -> None:
        """Let two masters swap their slots, with the keys in them."""
        self._ranges.reverse()

    def change_health(self) -> None:
        self._note_fault()
        self.is_down = not self.is_down

    def execute_at(self, address: Address, command: Command, now_s: float, lag_s: float) -> Reply:
        if self.is_down:
            self._note_fault()
            return exceptions.ClusterDownError("The cluster is down")
        if command == _SLOTS:
            return list(self._slots())
        slot = key_slot(str(command[3]).encode())
        master = self._ranges[slot // _SLOTS_PER_RANGE][0]
        if master != address:
            return exceptions.MovedError(f"{slot} {master[0]}:{master[1]}")
        return self._servers[address].execute(command, now_s, lag_s)

    def is_alive(self, address: Address) -> bool:
        return address != self._dead

    def _slots(self) -> Iterator[list[Any]]:
        for number, servers in enumerate(self._ranges):
            first = number * _SLOTS_PER_RANGE
            addresses = ([host.encode(), port, b"id"] for host, port in servers)
            yield [first, first + _SLOTS_PER_RANGE - 1, *addresses]

    def _note_fault(self) -> None:
        self.faults.last_s = asyncio.get_running_loop().time()


class _ClusterServer(SimulatedRedis):
    """A connection to one server of a cluster."""

    def __init__(self, cluster: SimulatedCluster, address: Address) -> None:
        super().__init__(_Link(cluster, address))

    async def execute_command(self, *command: Any) -> Reply:
        [reply] = await self._network.send([command])
        if isinstance(reply, Exception):
            raise reply
        return reply


class _Link(Network):
    """Carries messages to one server, with the faults of the whole network."""

    def __init__(self, cluster: SimulatedCluster, address: Address) -> None:
        self._cluster = cluster
        self._address = address
        self._rng = cluster._rng

    @property
    def faults(self) -> Faults:  # type: ignore[override]
        return self._cluster.faults

    async def send(self, commands: list[Command]) -> list[Reply]:
        if not self._cluster.is_alive(self._address):
            await asyncio.sleep(self._rng.random() * self.faults.delay_s)
            self.faults.last_s = asyncio.get_running_loop().time()
            raise exceptions.ConnectionError("Connection refused.")
        return await super().send(commands)

    def _run(self, command: Command, now_s: float, lag_s: float) -> Reply:
        return self._cluster.execute_at(self._address, command, now_s, lag_s)
