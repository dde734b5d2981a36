"""Backpressure of one connection: a client that reads nothing of a long response."""

import asyncio


class WriteProgress:
    """Aborts a connection when its client takes nothing of what waits to be sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stall_timeout_s: float) -> None:
        """Check a connection every `stall_timeout_s` seconds while it is watched."""
        self._loop = loop
        self._stall_timeout_s = stall_timeout_s
        self._check: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    def watch(self, transport: asyncio.Transport) -> None:
        """Start to watch a connection whose buffer is full."""
        self._unsent_bytes = transport.get_write_buffer_size()
        self._check = self._loop.call_later(self._stall_timeout_s, self._check_progress, transport)

    def stop(self) -> None:
        """Stop watching: the client reads again, or has left."""
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _check_progress(self, transport: asyncio.Transport) -> None:
        if transport.get_write_buffer_size() >= self._unsent_bytes:
            transport.abort()
        else:
            self.watch(transport)
