"""Lua scripts that run on a Redis: a single server, one behind Sentinel, or the servers of a cluster.

What hundreds of streams ask of a server at the same time goes there together. The client of redis-py spends most of its
time per message, and little on what is in it.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence as Items
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from redis import exceptions
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

# What `Scripts.run` raises when it gets no answer.
FAILURES = (exceptions.RedisError, OSError, TimeoutError)

# In one message to a server. An answer may be all frames of a session, some ten kilobytes.
_CALLS_TOGETHER = 128
# So often a call is sent on to another server of a cluster.
_REDIRECTIONS = 3
# Not more often than that a cluster is asked which server has what.
_LOOK_EVERY_S = 0.1

_Command = tuple[str | bytes | int, ...]
_Address = tuple[str, int]


class Script:
    """A Lua script, which is sent once to each server and then only named."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def by_name(self, keys: Items[str], arguments: Items[bytes | int]) -> _Command:
        return "EVALSHA", self._digest, len(keys), *keys, *arguments

    def in_full(self, keys: Items[str], arguments: Items[bytes | int]) -> _Command:
        return "EVAL", self._text, len(keys), *keys, *arguments


class Scripts(Protocol):
    """Something that runs scripts."""

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        """Give what a script says.

        Args:
            keys: one or more; those of one call are on the same server of a cluster.
        Raises:
            FAILURES: it has not, or not in time.
        """

    async def close(self) -> None:
        """Let go of all connections."""


class _Call(NamedTuple):
    """A script that is to be run, and what it will have said."""

    script: Script
    keys: Items[str]
    arguments: Items[bytes | int]
    answer: asyncio.Future[Any]


class _OneServer:
    """Scripts on one server: those that are called while others are under way go together, in the next message.

    No call waits for others to come, and one whose caller leaves disturbs none.
    """

    def __init__(self, client: Redis, timeout_s: float, others: Items[Redis] = ()) -> None:
        """Args:
        timeout_s: time that a message has, connecting included.
        others: clients to be closed with this one.
        """
        self.client = client
        self._timeout_s = timeout_s
        self._others = others
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await call.answer

    async def close(self) -> None:
        for client in (self.client, *self._others):
            await client.aclose()

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls = [call for call in self._waiting[:_CALLS_TOGETHER] if not call.answer.done()]
                del self._waiting[:_CALLS_TOGETHER]
                for call, said in zip(calls, await self._ask(calls), strict=True):
                    if call.answer.done():
                        continue  # whoever called has left
                    if isinstance(said, Exception):
                        call.answer.set_exception(said)
                    else:
                        call.answer.set_result(said)
        finally:
            self._sending = None

    async def _ask(self, calls: list[_Call]) -> list[Any]:
        """What the server says to each call, or why it says nothing."""
        try:
            async with asyncio.timeout(self._timeout_s):
                said = await self._execute([call.script.by_name(call.keys, call.arguments) for call in calls])
                unknown = [place for place, one in enumerate(said) if isinstance(one, exceptions.NoScriptError)]
                in_full = [calls[place].script.in_full(calls[place].keys, calls[place].arguments) for place in unknown]
                for place, one in zip(unknown, await self._execute(in_full), strict=True):
                    said[place] = one
                return said
        except Exception as error:
            return [error] * len(calls)

    async def _execute(self, commands: list[_Command]) -> list[Any]:
        if not commands:
            return []
        message = self.client.pipeline(transaction=False)
        for command in commands:
            message.execute_command(*command)
        return await message.execute(raise_on_error=False)


class _Cluster:
    """Scripts on the servers of a cluster, each server with messages of its own.

    redis-py's cluster client is not used: as of 8.1 it cuts connections that are in use when it looks at the cluster
    anew or when a call is cancelled, so one client who leaves, or one server that dies, fails calls to all servers.
    """

    def __init__(self, seeds: list[_Address], timeout_s: float, login: dict[str, Any]) -> None:
        """Args:
        seeds: servers that are asked first where everything is.
        timeout_s: time that a call has.
        """
        self._seeds = seeds
        self._timeout_s = timeout_s
        self._login = login
        # Of each slot; None while it is not known.
        self._masters: list[_Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._why_unknown: Exception | None = None
        # That are known, the one to be asked next about the cluster first.
        self._servers = OrderedDict((address, self._connect(address)) for address in seeds)
        self._looking: asyncio.Task[None] | None = None
        self._next_look_s = 0.0

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        slot = key_slot(keys[0].encode())
        if self._masters[slot] is None:
            await self._look()
        for _ in range(_REDIRECTIONS):
            master = self._masters[slot]
            if master is None:
                break
            try:
                return await self._server(master).run(script, keys, arguments)
            except exceptions.MovedError as moved:
                self._masters[slot] = (moved.host or master[0], moved.port)
            except FAILURES:
                await self._look()
                if self._masters[slot] == master:
                    raise
        raise exceptions.ClusterError(f"no server of the cluster is known to have slot {slot}") from self._why_unknown

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for server in self._servers.values():
            await server.close()

    def _server(self, address: _Address) -> _OneServer:
        if address not in self._servers:
            self._servers[address] = self._connect(address)
        return self._servers[address]

    def _connect(self, address: _Address) -> _OneServer:
        host, port = address
        client = Redis(host=host, port=port, retry=_retry(), **self._login)
        # A call whose server hangs has the other half of its time for that server's successor.
        return _OneServer(client, self._timeout_s / 2)

    async def _look(self) -> None:
        """Learn which server has which slots, unless that was done just now."""
        if self._looking is None:
            if time.monotonic() < self._next_look_s:
                return
            self._looking = asyncio.create_task(self._learn())
        await asyncio.shield(self._looking)

    async def _learn(self) -> None:
        try:
            for address in list(self._servers):
                # The next time another one first: this one may hang, or be cut off from what the others know.
                self._servers.move_to_end(address)
                try:
                    async with asyncio.timeout(self._timeout_s / 4):
                        slots = await self._servers[address].client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
                except FAILURES as error:
                    self._why_unknown = error
                    continue
                if slots:
                    await self._take(slots, address)
                    return
        finally:
            self._looking = None
            self._next_look_s = time.monotonic() + _LOOK_EVERY_S

    async def _take(self, slots: list[Any], guide: _Address) -> None:
        """Take over what a server says of the cluster.

        Args:
            slots: for each range of slots, its first and last one, and `[host, port, ...]` of its master and replicas.
            guide: the server that says so.
        """
        masters: list[_Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        known = set(self._seeds)
        for first, last, *servers in slots:
            # A server that does not know under which name it is reached says so.
            addresses = [(guide[0] if host in (None, b"", b"?") else host.decode(), port) for host, port, *_ in servers]
            masters[first : last + 1] = [addresses[0]] * (last + 1 - first)
            known.update(addresses)
        self._masters = masters
        for address in known - self._servers.keys():
            self._servers[address] = self._connect(address)
        for address in self._servers.keys() - known:
            await self._servers.pop(address).close()


def connect(url: str, timeout_s: float) -> Scripts:
    """Make a client; nothing is sent yet.

    Args:
        url: redis://[user:password@]host[:port][/database], rediss:// for TLS, or for several servers
            redis+cluster://[user:password@]host:port,host:port or
            redis+sentinel://[user:password@]host:port,host:port/name of the master.
        timeout_s: time that a call has, connecting included.
    Raises:
        ValueError: the address cannot be read; the message does not repeat it, for it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    hosts, _, master = place.partition("/")
    user, _, password = login.partition(":")
    named: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password)} if login else {}
    try:
        match scheme:
            case "redis" | "rediss":
                return _OneServer(Redis.from_url(url, retry=_retry()), timeout_s)
            case "redis+cluster":
                return _Cluster(_addresses(hosts), timeout_s, named)
            case "redis+sentinel" if master:
                # So that a Sentinel that hangs leaves time to ask the next one.
                half_each = {"socket_timeout": timeout_s / 2, "socket_connect_timeout": timeout_s / 2}
                sentinel = Sentinel(_addresses(hosts), sentinel_kwargs=half_each, retry=_retry(), **named)  # type: ignore[no-untyped-call]
                return _OneServer(sentinel.master_for(master), timeout_s, others=sentinel.sentinels)
    except ValueError:
        pass  # its message may quote a part of the password
    raise ValueError(
        "it must be redis://host:port, rediss://host:port, redis+cluster://host:port,host:port "
        "or redis+sentinel://host:port,host:port/master, with special characters in a password percent-encoded"
    )


def _retry() -> Retry:
    """One more attempt, at once: all connections are dead after the server was started anew."""
    return Retry(NoBackoff(), 1)


def _addresses(hosts: str) -> list[_Address]:
    """Read `host:port,host:port`."""
    addresses = [host.rpartition(":") for host in hosts.split(",")]
    return [(name.strip("[]"), int(port)) for name, _, port in addresses]
