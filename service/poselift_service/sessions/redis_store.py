"""A session store in a Redis that all replicas share: a single server, one behind Sentinel, or a cluster."""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from redis.asyncio import Redis, Sentinel
from redis.exceptions import OutOfMemoryError

from poselift_service.errors import SessionConflict, SessionStoreDown, UnknownSession
from poselift_service.sessions.redis_client import FAILURES, PipelinedClient, ScriptClient, retry_once
from poselift_service.sessions.redis_cluster import Address, ClusterClient
from poselift_service.sessions.redis_scripts import (
    ADVANCE,
    END,
    EXISTS,
    KEEP_MOTION,
    OPEN,
    READ_MOTION,
    Script,
    session_keys,
)
from poselift_service.sessions.store import Append, MotionStates, Outcome, ReplicaCursor, StoreReply, make_reply

_LOG_INTERVAL_S = 10.0
# How long an ended session stays readable. The answer to its end may be lost when Redis fails, and can be asked for
# again only when Redis is back: after a restart, or a failover, which with Sentinel's defaults takes half a minute.
_ENDED_RETENTION_S = 60.0

Reply = TypeVar("Reply")

logger = logging.getLogger(__name__)


class RedisStore:
    """Keeps sessions in Redis.

    Redis replicates asynchronously, so a master that dies loses its newest frames. The session then expects them again,
    and its client learns that from a conflict. To wait for a replica at every frame (WAIT) would cost a round trip and
    still guarantee nothing, for a replica without the frame may be promoted. `min-replicas-to-write` in Redis bounds
    the loss when a master is cut off; its refusals are reported as SessionStoreDown. A client cannot send an opening
    again, so where that is set, a session is open once a replica has it.
    """

    def __init__(self, url: str, *, ttl_s: float, timeout_s: float) -> None:
        """Connect to a Redis; nothing is sent yet.

        Args:
            url: as for `connect`.
            ttl_s: time after which an unused session expires.
            timeout_s: timeout of every call, connecting included.
        Raises:
            ValueError: the URL is invalid; the message does not repeat it, because it may contain a password.
        """
        self._client = connect(url, timeout_s)
        self._ttl_ms = round(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._next_log_s = -math.inf

    async def open(self, session_id: str, opening: bytes) -> None:
        if await self._run(OPEN, session_id, self._ttl_ms, opening):
            await self._in_time(self._client.replicate(session_keys(session_id)[0], self._ttl_ms))

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        sent = append or Append(0, (), b"", 0, 0)
        position = (sent.first, sent.needed_before, sent.kept_before, cursor.stop, cursor.stamp)
        reply = await self._run(
            ADVANCE, session_id, self._ttl_ms, *position, int(include_ended), sent.stamp, *sent.frames
        )
        match reply:
            case [b"unknown"]:
                raise UnknownSession
            case [b"conflict", expected]:
                raise SessionConflict(int(expected))
            case [outcome, opening, kept_first, first, entries, ended]:
                indices = int(kept_first), int(first)
                return make_reply(Outcome(outcome), opening, *indices, entries, cursor, append, has_ended=bool(ended))
            case _:
                raise AssertionError(f"the script returned {reply!r}")

    async def keep_motion(self, session_id: str, motion: MotionStates, *, cursor: ReplicaCursor) -> None:
        states = [part for state in sorted(motion.states.items()) for part in state]
        await self._run(KEEP_MOTION, session_id, cursor.stop, cursor.stamp, motion.oldest, motion.every, *states)

    async def read_motion(self, session_id: str) -> Mapping[int, bytes]:
        kept = await self._run(READ_MOTION, session_id)
        return {int(index): state for index, state in zip(kept[::2], kept[1::2], strict=True)}

    async def is_shared(self, session_id: str) -> bool:
        return bool(await self._run(EXISTS, session_id))

    async def close_session(self, session_id: str) -> None:
        await self._run(END, session_id, min(round(_ENDED_RETENTION_S * 1000), self._ttl_ms))

    async def close(self) -> None:
        await self._client.close()

    async def _run(self, script: Script, session_id: str, *arguments: bytes | int) -> Any:
        return await self._in_time(self._client.run(script, session_keys(session_id), arguments))

    async def _in_time(self, call: Coroutine[Any, Any, Reply]) -> Reply:
        """Make a call; any failure to get its reply in time becomes SessionStoreDown."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except FAILURES as error:
            self._log_rate_limited(error)
            if isinstance(error, OutOfMemoryError):
                raise SessionStoreDown("The store of the sessions has no memory left; try again later.") from error
            raise SessionStoreDown from error

    def _log_rate_limited(self, error: Exception) -> None:
        """Log why Redis is unavailable, at most once per interval: each call of hundreds of streams may fail."""
        now = time.monotonic()
        if now >= self._next_log_s:
            self._next_log_s = now + _LOG_INTERVAL_S
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            logger.warning("the session store is unavailable: %s: %s", type(error).__name__, reason)


def connect(url: str, timeout_s: float) -> ScriptClient:
    """Create a client; nothing is sent yet.

    Args:
        url: redis://[user:password@]host[:port][/database], rediss:// for TLS, or for several servers
            redis+cluster://[user:password@]host:port,host:port or
            redis+sentinel://[user:password@]host:port,host:port/name of the master.
        timeout_s: timeout of a call, connecting included.
    Raises:
        ValueError: the URL is invalid; the message does not repeat it, because it may contain a password.
    """
    scheme, _, rest = url.partition("://")
    login, _, location = rest.rpartition("@")
    hosts, _, master = location.partition("/")
    user, _, password = login.partition(":")
    credentials: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password)} if login else {}
    try:
        match scheme:
            case "redis" | "rediss":
                return PipelinedClient(Redis.from_url(url, retry=retry_once()), timeout_s)
            case "redis+cluster":
                return ClusterClient(_addresses(hosts), timeout_s, credentials)
            case "redis+sentinel" if master:
                # If a Sentinel hangs, half of the call's time is left to ask the next one.
                timeouts = {"socket_timeout": timeout_s / 2, "socket_connect_timeout": timeout_s / 2}
                sentinel = Sentinel(_addresses(hosts), sentinel_kwargs=timeouts, retry=retry_once(), **credentials)  # type: ignore[no-untyped-call]
                return PipelinedClient(sentinel.master_for(master), timeout_s, others=sentinel.sentinels)
    except ValueError:
        pass  # its message may quote a part of the password
    raise ValueError(
        "it must be redis://host:port, rediss://host:port, redis+cluster://host:port,host:port "
        "or redis+sentinel://host:port,host:port/master, with special characters in a password percent-encoded"
    )


def _addresses(hosts: str) -> list[Address]:
    """Parse `host:port,host:port`."""
    addresses = [host.rpartition(":") for host in hosts.split(",")]
    return [(name.strip("[]"), int(port)) for name, _, port in addresses]
