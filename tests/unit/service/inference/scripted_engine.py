"""An engine that finishes its batches when the test says so, and whose answers identify the windows it was given."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from poselift.networks.slice import Slice


def sequence(identity: int, windows: int) -> Slice:
    """A sequence whose window i is lifted to (identity, i, 0)."""
    frames = np.stack([np.full(windows, identity), np.arange(windows)], axis=-1).astype(np.float32)[:, None]
    return Slice(frames, np.arange(windows)[:, None])


def poses(whole: Slice) -> NDArray[np.float32]:
    """The answer of `ScriptedEngine` to a sequence, [W, 1, 3]."""
    return np.pad(whole.frames[whole.index[:, 0]], ((0, 0), (0, 0), (0, 1)))


class ScriptedEngine:
    def __init__(self, batch_windows: int = 8) -> None:
        self.batch_windows = batch_windows
        self.batches: list[list[Slice]] = []
        self._running: asyncio.Future[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._running is not None

    @property
    def sizes(self) -> list[list[int]]:
        """Number of windows of each slice, for each batch so far."""
        return [[len(part.index) for part in batch] for batch in self.batches]

    def identities(self, batch: int) -> list[int]:
        """Identities of the sequences in a batch."""
        return [int(part.frames[0, 0, 0]) for part in self.batches[batch]]

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        self.batches.append(list(batch))
        self._running = asyncio.get_running_loop().create_future()
        try:
            await self._running
        finally:
            self._running = None
        return [poses(part) for part in batch]

    async def finish(self) -> None:
        """Let the running batch succeed."""
        assert self._running is not None
        self._running.set_result(None)
        await settle()

    async def fail(self, error: BaseException) -> None:
        """Let the running batch raise an error."""
        assert self._running is not None
        self._running.set_exception(error)
        await settle()


async def settle() -> None:
    """Wait until the event loop has no callback left to run, so that every other task waits for something."""
    # There is no public way to ask; a loop of another kind than asyncio's own fails here, and does not pass.
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    while ready:
        await asyncio.sleep(0)
