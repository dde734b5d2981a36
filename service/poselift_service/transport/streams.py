"""Streams: calls that stay open. How many may be open, how long each waits for its client, and how all of them end."""

import asyncio
import contextlib
import enum
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from poselift_service.errors import NotReady, Overloaded, ServiceError, StreamIdle
from poselift_service.transport.limits import peer_of

_RETRY_AFTER_S = 1.0
# Time in which a client has to take the answer that is being sent when the server stops.
_LAST_ANSWER_TIMEOUT_S = 5.0
# A client that is streaming sends messages more often than this.
_LONG_WAIT_S = 2.0

Read = TypeVar("Read")


class _Wait(enum.Enum):
    """What a stream waits for."""

    READING = enum.auto()
    WRITING = enum.auto()


class _Timeout(NamedTuple):
    """The longest time of a wait, and the setting that changes it."""

    seconds: float
    setting: str = ""


class Stream:
    """One open stream, for the task that serves it.

    All waits for its client go through `read` and `write`, so that they can be ended: by a timeout, or when the server
    stops. They then raise the error that the client is told, and no message that was read is lost.
    """

    def __init__(self, *, first_message_s: float, idle_s: float, stall_s: float) -> None:
        """Create a stream, in the task that serves it.

        Args:
            first_message_s: longest wait for the first message.
            idle_s: longest wait for each later message.
            stall_s: longest wait for an answer to be taken.
        """
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._idle_timeout = _Timeout(idle_s, "session_ttl_s")
        self._timeouts = {
            _Wait.READING: _Timeout(first_message_s, "first_message_timeout_s"),
            _Wait.WRITING: _Timeout(stall_s, "stall_timeout_s"),
        }
        self._wait: _Wait | None = None
        self._wait_started_s = 0.0
        self._error: ServiceError | None = None
        # A single timer that checks periodically, because a timer per wait would slow down every message.
        self._interval_s = min(first_message_s, idle_s, stall_s)
        self._timer = self._loop.call_later(self._interval_s, self._check_wait)

    async def read(self, receive: Callable[[], Awaitable[Read]]) -> Read:
        """Wait for the client's next message.

        Raises:
            ServiceError: StreamIdle, or NotReady when the server stops.
        """
        if self._error is not None:
            raise self._error
        message = await self._wait_for_client(_Wait.READING, receive())
        if self._error is None:
            self._timeouts[_Wait.READING] = self._idle_timeout
        return message

    async def write(self, sending: Awaitable[None]) -> None:
        """Wait until the client has taken enough to send it an answer.

        Raises:
            ServiceError: StreamIdle, or NotReady when the server stops and the client takes nothing.
        """
        await self._wait_for_client(_Wait.WRITING, sending)

    @property
    def waited_s(self) -> float:
        """How long it has been waiting for a message; zero when it is not."""
        return self._loop.time() - self._wait_started_s if self._wait is _Wait.READING else 0.0

    def end(self, error: ServiceError) -> None:
        """Make `read` raise the error from now on; a message that was read is still answered, if the client reads."""
        self._error = error
        self._timeouts = {_Wait.READING: _Timeout(0), _Wait.WRITING: _Timeout(_LAST_ANSWER_TIMEOUT_S)}
        self._interval_s = _LAST_ANSWER_TIMEOUT_S
        self._timer.cancel()
        self._check_wait()

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    async def _wait_for_client(self, wait: _Wait, client: Awaitable[Read]) -> Read:
        self._wait, self._wait_started_s = wait, self._loop.time()
        try:
            return await client
        except asyncio.CancelledError:
            if self._error is None:
                raise  # the client has left
            self._task.uncancel()
            raise self._error from None
        finally:
            self._wait = None

    def _check_wait(self) -> None:
        """End a wait that is too long, or schedule the next check."""
        now = self._loop.time()
        next_check = now + self._interval_s
        if self._wait is not None:
            timeout_s, setting = self._timeouts[self._wait]
            if now - self._wait_started_s >= timeout_s:
                self._error = self._error or StreamIdle(timeout_s, setting)
                self._task.cancel()
                return
            next_check = min(next_check, self._wait_started_s + timeout_s)
        self._timer = self._loop.call_at(next_check, self._check_wait)


class Streams:
    """All open streams of a server, over both transports."""

    def __init__(self, *, capacity: int, per_peer: int, first_message_s: float, idle_s: float, stall_s: float) -> None:
        """Create the set of streams.

        Args:
            capacity: most streams that may be open.
            per_peer: most streams that one address may have open.
            first_message_s: longest wait for the first message, in each stream.
            idle_s: longest wait for a later message, in each stream.
            stall_s: longest wait for an answer to be taken, in each stream.
        """
        self._capacity = capacity
        self._per_peer = per_peer
        self._first_message_s = first_message_s
        self._idle_s = idle_s
        self._stall_s = stall_s
        self._open: set[Stream] = set()
        self._hiding: set[Stream] = set()
        self._peers: Counter[str] = Counter()
        self._stopping = False

    @contextlib.contextmanager
    def admit(self, address: str, *, hides_arriving_bytes: bool = False) -> Iterator[Stream]:
        """Open the stream that the current task serves.

        Args:
            address: the client's.
            hides_arriving_bytes: whether the transport does not tell how much of a message has arrived, as the library
                for gRPC, so that these bytes are in no budget. Such a stream is ended where memory is short.
        Raises:
            Overloaded: too many streams are open, in total or from that address.
            NotReady: the server is stopping.
        """
        if self._stopping:
            raise _server_stopping()
        peer = peer_of(address)
        if len(self._open) >= self._capacity:
            raise Overloaded(_RETRY_AFTER_S, "The server has as many streams as it may (setting max_streams).")
        if self._peers[peer] >= self._per_peer:
            most = f"{self._per_peer} streams, the most (setting max_streams_per_peer)"
            raise Overloaded(_RETRY_AFTER_S, f"The address of the client has {most}.")
        stream = Stream(first_message_s=self._first_message_s, idle_s=self._idle_s, stall_s=self._stall_s)
        self._open.add(stream)
        self._peers[peer] += 1
        if hides_arriving_bytes:
            self._hiding.add(stream)
        try:
            yield stream
        finally:
            stream.close()
            self._open.discard(stream)
            self._hiding.discard(stream)
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    @property
    def has_long_wait(self) -> bool:
        """Whether `end_longest_wait` would end a stream."""
        return self._longest_wait() is not None

    def end_longest_wait(self) -> bool:
        """End the stream that waits longest for a message, of those that hide what has arrived, for lack of memory.

        Its client may have sent a message in part, which nobody here can see. Returns whether there was one.
        """
        longest = self._longest_wait()
        if longest is None:
            return False
        self._hiding.discard(longest)
        longest.end(Overloaded(_RETRY_AFTER_S, "The server is short of memory; reconnect and resend."))
        return True

    def stop(self) -> None:
        """Open no more streams, and end the open ones once the messages that they have read are answered."""
        self._stopping = True
        for stream in self._open:
            stream.end(_server_stopping())

    def _longest_wait(self) -> Stream | None:
        longest = max(self._hiding, key=lambda stream: stream.waited_s, default=None)
        return None if longest is None or longest.waited_s < _LONG_WAIT_S else longest


def _server_stopping() -> NotReady:
    return NotReady("The server is stopping; reconnect and resend from the first message without an answer.")
