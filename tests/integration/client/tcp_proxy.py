"""A TCP proxy in a thread, that a client reaches servers through and that disturbs what passes."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 4096


@dataclass(frozen=True)
class Faults:
    """What happens to each chunk of bytes, by chance.

    Attributes:
        cut: probability that the connection is cut, after a part of the chunk.
        hang: probability that nothing passes any more, over a connection that stays open.
        halve: probability that the rest of the chunk passes later than its beginning.
        delay_s: longest time that a chunk may be delayed.
    """

    cut: float = 0.0
    hang: float = 0.0
    halve: float = 0.0
    delay_s: float = 0.0


@dataclass
class Disturbed:
    """How often what has happened."""

    connections: int = 0
    cuts: int = 0
    hangs: int = 0
    halves: int = 0

    def add(self, more: "Disturbed") -> None:
        self.connections += more.connections
        self.cuts += more.cuts
        self.hangs += more.hangs
        self.halves += more.halves


class TcpProxy:
    """Forwards the connections to a port of its own.

    Attributes:
        port: where it listens, on the loopback.
        counts: what it has done.
    """

    port: int

    def __init__(self, backend: Callable[[], int], faults: Faults = Faults(), seed: int = 0) -> None:
        """Prepare a proxy; entering it opens its port.

        Args:
            backend: gives the port that a new connection is forwarded to; it may wait.
        """
        self.counts = Disturbed()
        self._backend = backend
        self._faults = faults
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.counts.connections += 1
        with closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            port = await asyncio.to_thread(self._backend)
            behind, onwards = await asyncio.open_connection("127.0.0.1", port)
            with closing(onwards):
                both = (self._pipe(reader, onwards), self._pipe(behind, writer))
                pipes = [asyncio.ensure_future(pipe) for pipe in both]
                try:
                    await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pipe in pipes:
                        pipe.cancel()
                    await asyncio.gather(*pipes, return_exceptions=True)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Forward one direction until it ends, or is cut."""
        while chunk := await source.read(_CHUNK_BYTES):
            await asyncio.sleep(self._chance.uniform(0, self._faults.delay_s))
            half = self._chance.randrange(len(chunk))
            match self._fault():
                case "cut":
                    target.write(chunk[:half])
                    await target.drain()
                    return
                case "hang":
                    await asyncio.sleep(3600)
                case "halve":
                    target.write(chunk[:half])
                    await asyncio.sleep(self._chance.uniform(0, 0.1))
                    target.write(chunk[half:])
                case _:
                    target.write(chunk)
            await target.drain()

    def _fault(self) -> str:
        drawn, faults = self._chance.random(), self._faults
        if drawn < faults.cut:
            self.counts.cuts += 1
            return "cut"
        if drawn < faults.cut + faults.hang:
            self.counts.hangs += 1
            return "hang"
        if drawn < faults.cut + faults.hang + faults.halve:
            self.counts.halves += 1
            return "halve"
        return ""


@contextlib.contextmanager
def closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Close a connection at the end, without waiting for what was not sent."""
    try:
        yield
    finally:
        writer.transport.abort()
