"""Streams: calls that stay open. How many there may be, how long one may wait for its client, and how they all end."""

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from poselift_service.errors import NotReady, Overloaded, ServiceError, StreamIdle

_RETRY_S = 1.0
# When the server stops, a client gets this time to take the answer that is being sent to it.
_LAST_ANSWER_S = 5.0

Read = TypeVar("Read")


class _Wait(enum.Enum):
    """What a stream waits for."""

    READING = enum.auto()
    WRITING = enum.auto()


class Stream:
    """One open stream, as the task that serves it sees it.

    Its client is waited for here only, so that the wait can be ended: when it takes too long, or when the server stops.
    Then `read` or `write` raises what the client is to be told, and nothing is lost that was read before.
    """

    def __init__(self, *, idle_s: float, stall_s: float) -> None:
        """To be made in the task that serves the stream.

        Args:
            idle_s: longest wait for a message.
            stall_s: longest wait for an answer to be taken.
        """
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._limits_s = {_Wait.READING: idle_s, _Wait.WRITING: stall_s}
        self._wait: _Wait | None = None
        self._since = 0.0
        self._ending: ServiceError | None = None
        # One timer that looks from time to time, because one per wait would cost every message something.
        self._interval_s = min(idle_s, stall_s)
        self._timer = self._loop.call_later(self._interval_s, self._look)

    async def read(self, receive: Callable[[], Awaitable[Read]]) -> Read:
        """Wait for the client's next message.

        Raises:
            ServiceError: StreamIdle, or NotReady when the server stops.
        """
        if self._ending is not None:
            raise self._ending
        return await self._for(_Wait.READING, receive())

    async def write(self, sending: Awaitable[None]) -> None:
        """Wait until the client has room for an answer.

        Raises:
            ServiceError: StreamIdle, or NotReady when the server stops and the client does not make room.
        """
        await self._for(_Wait.WRITING, sending)

    def end(self, error: ServiceError) -> None:
        """Let `read` raise this from now on; what has been read is still answered, if the client takes the answer."""
        self._ending = error
        self._limits_s = {_Wait.READING: 0, _Wait.WRITING: _LAST_ANSWER_S}
        self._interval_s = _LAST_ANSWER_S
        self._timer.cancel()
        self._look()

    def close(self) -> None:
        """Look no longer."""
        self._timer.cancel()

    async def _for(self, wait: _Wait, client: Awaitable[Read]) -> Read:
        self._wait, self._since = wait, self._loop.time()
        try:
            return await client
        except asyncio.CancelledError:
            if self._ending is None:
                raise  # the client has left
            self._task.uncancel()
            raise self._ending from None
        finally:
            self._wait = None

    def _look(self) -> None:
        """End a wait that takes too long, or look again later."""
        now = self._loop.time()
        again = now + self._interval_s
        if self._wait is not None:
            limit_s = self._limits_s[self._wait]
            if now - self._since >= limit_s:
                self._ending = self._ending or StreamIdle(limit_s)
                self._task.cancel()
                return
            again = min(again, self._since + limit_s)
        self._timer = self._loop.call_at(again, self._look)


class Streams:
    """All open streams of a server, whatever they come over."""

    def __init__(self, *, capacity: int, idle_s: float, stall_s: float) -> None:
        """Args:
        capacity: streams that may be open at a time.
        idle_s: longest time that one waits for a message.
        stall_s: longest time that one waits for an answer to be taken.
        """
        self._capacity = capacity
        self._idle_s = idle_s
        self._stall_s = stall_s
        self._open: set[Stream] = set()
        self._stopping = False

    @contextlib.contextmanager
    def admit(self) -> Iterator[Stream]:
        """Hold a place for the stream that this task serves.

        Raises:
            Overloaded: there is none left.
            NotReady: the server stops.
        """
        if self._stopping:
            raise _stopping()
        if len(self._open) >= self._capacity:
            raise Overloaded(retry_after_s=_RETRY_S)
        stream = Stream(idle_s=self._idle_s, stall_s=self._stall_s)
        self._open.add(stream)
        try:
            yield stream
        finally:
            stream.close()
            self._open.discard(stream)

    def stop(self) -> None:
        """Admit no more, and end those that are open as soon as what they have read is answered."""
        self._stopping = True
        for stream in self._open:
            stream.end(_stopping())


def _stopping() -> NotReady:
    return NotReady("The server is stopping; another one goes on with the first message that has no answer.")
