"""Runs Lua scripts on a Redis cluster: routes each call to the master of its slot."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence as Items
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from poselift_service.sessions.redis_client import FAILURES, PipelinedClient, retry_once
from poselift_service.sessions.redis_scripts import Script

Address = tuple[str, int]

_MAX_ATTEMPTS = 3
# The slot table is refreshed at most once in this time.
_MIN_REFRESH_INTERVAL_S = 0.1


class ClusterClient:
    """Runs scripts on the masters of a cluster, each with its own `PipelinedClient`.

    redis-py's cluster client is not used. In 8.1.0 it no longer cuts connections in use when a call is cancelled or a
    single server fails. It still closes all connections to all servers, with the calls in progress on them, when one
    server answers CLUSTERDOWN and after every fifth MOVED, so that a failover of one server fails calls to the others.
    """

    def __init__(self, seeds: list[Address], timeout_s: float, login: dict[str, Any]) -> None:
        """Connect to a cluster; nothing is sent yet.

        Args:
            seeds: addresses that are asked first for the slot table.
            timeout_s: timeout of a call.
            login: username and password, as keyword arguments of `Redis`.
        """
        self._seeds = seeds
        self._timeout_s = timeout_s
        self._login = login
        # The master of each slot; None while it is unknown.
        self._masters: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._last_refresh_error: Exception | None = None
        # All known servers; the one to ask next for the slot table comes first.
        self._servers = OrderedDict((address, self._connect(address)) for address in seeds)
        self._refreshing: asyncio.Task[None] | None = None
        self._next_refresh_s = 0.0

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        slot = key_slot(keys[0].encode())
        if self._masters[slot] is None:
            await self._refresh()
        for _ in range(_MAX_ATTEMPTS):
            master = self._masters[slot]
            if master is None:
                break
            try:
                return await self._server(master).run(script, keys, arguments)
            except exceptions.MovedError as moved:
                self._masters[slot] = (moved.host or master[0], moved.port)
            except FAILURES:
                await self._refresh()
                if self._masters[slot] == master:
                    raise
        raise exceptions.ClusterError(f"no master is known for slot {slot}") from self._last_refresh_error

    async def replicate(self, key: str, ttl_ms: int) -> None:
        master = self._masters[key_slot(key.encode())]
        if master is None:
            raise exceptions.ClusterError("the master that has the key is no longer known")
        await self._server(master).replicate(key, ttl_ms)

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        for server in self._servers.values():
            await server.close()

    def _server(self, address: Address) -> PipelinedClient:
        if address not in self._servers:
            self._servers[address] = self._connect(address)
        return self._servers[address]

    def _connect(self, address: Address) -> PipelinedClient:
        host, port = address
        client = Redis(host=host, port=port, retry=retry_once(), **self._login)
        # If a server hangs, half of the call's time is left for its successor.
        return PipelinedClient(client, self._timeout_s / 2)

    async def _refresh(self) -> None:
        """Refresh the slot table, unless that has just been done; concurrent calls share one refresh."""
        if self._refreshing is None:
            if time.monotonic() < self._next_refresh_s:
                return
            self._refreshing = asyncio.create_task(self._fetch())
        await asyncio.shield(self._refreshing)

    async def _fetch(self) -> None:
        """Fetch the slot table from the first server that returns one."""
        try:
            for address in list(self._servers):
                # Start with another server next time: this one may hang, or be cut off from the rest of the cluster.
                self._servers.move_to_end(address)
                try:
                    async with asyncio.timeout(self._timeout_s / 4):
                        slots = await self._servers[address].ask("CLUSTER", "SLOTS")
                except FAILURES as error:
                    self._last_refresh_error = error
                    continue
                if slots:
                    await self._apply_slots(slots, address)
                    return
        finally:
            self._refreshing = None
            self._next_refresh_s = time.monotonic() + _MIN_REFRESH_INTERVAL_S

    async def _apply_slots(self, slots: list[Any], source: Address) -> None:
        """Replace the slot table; connect to new servers and disconnect from those that have left.

        Args:
            slots: reply to CLUSTER SLOTS: for each range its first and last slot, and `[host, port, ...]` of its master
                and of its replicas.
            source: address of the server that sent it.
        """
        masters: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        known = set(self._seeds)
        for first, last, *servers in slots:
            # A server that does not know its own host name sends none, or "?".
            addresses = [
                (source[0] if host in (None, b"", b"?") else host.decode(), port) for host, port, *_ in servers
            ]
            masters[first : last + 1] = [addresses[0]] * (last + 1 - first)
            known.update(addresses)
        self._masters = masters
        for address in known - self._servers.keys():
            self._servers[address] = self._connect(address)
        for address in self._servers.keys() - known:
            await self._servers.pop(address).close()
