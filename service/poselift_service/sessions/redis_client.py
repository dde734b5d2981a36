"""Runs Lua scripts on one Redis server, and pipelines the calls of all streams.

Calls of concurrent streams to a server share one message: redis-py spends most of its time per message, and little on
its contents.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from collections.abc import Sequence as Items
from typing import Any, NamedTuple, Protocol

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from poselift_service.sessions.redis_scripts import Command, Script

FAILURES = (exceptions.RedisError, OSError, TimeoutError)
"""What `ScriptClient.run` raises when it gets no reply."""

# Part of the message with which uvloop refuses to write to a connection that has been closed.
_WRITTEN_AFTER_CLOSE = "the handler is closed"

# Most calls in one message. A reply may hold all frames of a session, some ten kilobytes.
_MAX_PIPELINED_CALLS = 128


class ScriptClient(Protocol):
    """Runs scripts on a Redis server or cluster."""

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        """Run a script and return its reply.

        Args:
            keys: one or more; all of them must belong to the same slot of a cluster.
        Raises:
            FAILURES: there was no reply, or none in time.
        """

    async def replicate(self, key: str, ttl_ms: int) -> None:
        """Wait until a replica has what was written to a key, and renew the expiry of the key.

        Raises:
            FAILURES: no replica had it in time, or there was no reply.
        """

    async def close(self) -> None:
        """Close all connections."""


class _Call(NamedTuple):
    """A script to run, and the future of its reply."""

    script: Script
    keys: Items[str]
    arguments: Items[bytes | int]
    reply: asyncio.Future[Any]


class PipelinedClient:
    """Runs scripts on one server. Calls made while a message is in flight are pipelined in the next message.

    No call is delayed to wait for others, and a cancelled call does not affect the others in its message.
    """

    def __init__(self, client: Redis, timeout_s: float, others: Items[Redis] = ()) -> None:
        """Use a connection pool of redis-py.

        Args:
            timeout_s: timeout of a message, connecting included.
            others: clients to close together with this one.
        """
        self._client = client
        self._timeout_s = timeout_s
        self._others = others
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Items[str], arguments: Items[bytes | int]) -> Any:
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await call.reply

    async def replicate(self, key: str, ttl_ms: int) -> None:
        # In a message of its own, on another connection: the server reads nothing more from this one while it waits,
        # and waits for what was written before it at all, by whomever.
        commands: list[Command] = [("PEXPIRE", key, ttl_ms), ("WAIT", 1, round(1000 * self._timeout_s / 2))]
        async with asyncio.timeout(self._timeout_s):
            renewed, replicas = await self._execute(commands)
        for reply in (renewed, replicas):
            if isinstance(reply, Exception):
                raise reply
        if not (renewed and replicas):
            raise TimeoutError("no replica has acknowledged a new session in time")

    async def ask(self, *command: str) -> Any:
        """Run one command in a message of its own, with no timeout.

        Raises:
            FAILURES: there was no reply.
        """
        with _closed_is_connection_error():
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        for client in (self._client, *self._others):
            await client.aclose()

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls = [call for call in self._waiting[:_MAX_PIPELINED_CALLS] if not call.reply.done()]
                del self._waiting[:_MAX_PIPELINED_CALLS]
                for call, reply in zip(calls, await self._run_calls(calls), strict=True):
                    if call.reply.done():
                        continue  # its caller was cancelled
                    if isinstance(reply, Exception):
                        call.reply.set_exception(reply)
                    else:
                        call.reply.set_result(reply)
        finally:
            self._sending = None

    async def _run_calls(self, calls: list[_Call]) -> list[Any]:
        """Run calls in one message. Returns the reply of each, or the exception that prevented it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._execute([call.script.evalsha(call.keys, call.arguments) for call in calls])
                missing = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
                commands = [calls[i].script.eval(calls[i].keys, calls[i].arguments) for i in missing]
                for i, reply in zip(missing, await self._execute(commands), strict=True):
                    replies[i] = reply
                return replies
        except Exception as error:
            return [error] * len(calls)

    async def _execute(self, commands: list[Command]) -> list[Any]:
        if not commands:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with _closed_is_connection_error():
            return await pipeline.execute(raise_on_error=False)


@contextlib.contextmanager
def _closed_is_connection_error() -> Iterator[None]:
    """Translate the error of a connection that is closed between its opening and its first command.

    Every other error of redis-py is its own or one of the system; this one is uvloop's, and a bare RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if _WRITTEN_AFTER_CLOSE not in str(error):
            raise
        raise exceptions.ConnectionError(str(error)) from error


def retry_once() -> Retry:
    """Retry once, at once: after a server has restarted, all pooled connections are dead."""
    return Retry(NoBackoff(), 1)
