"""The batcher itself, with a sequential account beside it of permits, deadlines and outcomes."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from collections.abc import Sequence as Items

from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import EntryResult, Priority

from poselift.networks.slice import Slice
from tests.simulation.engine import SimulatedEngine
from tests.simulation.violation import require
from tests.simulation.virtual_time import VirtualLoop

# Virtual time is a sum of floats.
_SAME_TIME_S = 1e-6


class Account:
    """What a batcher must have done, counted by its callers and reported by itself."""

    def __init__(self) -> None:
        self.permits = dict.fromkeys(Priority, 0)
        self.called = 0
        self.finished = 0
        self.traced = 0

    def batch_started(self, windows: int) -> None:
        require(windows > 0, "a batch without windows")

    def batch_failed(self) -> None: ...

    def windows_refused(self, windows: int) -> None: ...

    def entry_finished(self, outcome: str) -> None:
        self.finished += 1

    def trace(self, submitted: float, started: float | None, resolved: float) -> None:
        self.traced += 1
        require(submitted <= (submitted if started is None else started) <= resolved, "times of an entry run backwards")


class WatchedBatcher(Batcher):
    """Checks each call of a batcher when it returns."""

    def __init__(self, engine: SimulatedEngine, capacity_windows: int, loop: VirtualLoop) -> None:
        self.account = Account()
        self.is_open = False
        self._loop = loop
        self._now = loop.time
        self._watched_engine = engine
        self._room = capacity_windows
        super().__init__(
            engine,
            capacity_windows=capacity_windows,
            observer=self.account,
            trace=self.account.trace,
            clock=loop.time,
        )

    def start(self) -> None:
        self.is_open = True
        super().start()
        assert self._runner is not None
        self._runner.add_done_callback(self._note_end)

    @contextlib.contextmanager
    def admit(self, windows: int, *, priority: Priority, deadline: float) -> Iterator[None]:
        permits = self.account.permits
        held = sum(permits.values())
        require(held == self.windows_queued, "permits leak", held, self.windows_queued)
        try:
            permit = super().admit(windows, priority=priority, deadline=deadline)
            permit.__enter__()
        except Overloaded as refusal:
            ahead = sum(permits[other] for other in Priority if other <= priority)
            require(ahead or held + windows > self._room, "a caller was refused although there was room")
            require(refusal.retry_after_s > 0, "a refusal without a hint")
            raise
        except NotReady:
            require(not self.is_open, "an open batcher was not ready")
            raise
        require(self.is_open, "a closed batcher admitted a caller")
        require(held + windows <= self._room, "more windows were admitted than there is room for")
        permits[priority] += windows
        try:
            yield
        finally:
            permits[priority] -= windows
            permit.__exit__(*sys.exc_info())

    async def lift(self, sequences: Items[Slice], *, priority: Priority, deadline: float) -> EntryResult:
        began_s = self._now()
        self.account.called += 1
        try:
            result = await super().lift(sequences, priority=priority, deadline=deadline)
            lengths = [len(one.index) for one in sequences]
            require([*map(len, result.answers)] == lengths, "poses for other windows than those that were asked for")
            require(result.queue_s >= -_SAME_TIME_S and result.inference_s >= 0, "a time below zero", result)
            return result
        except DeadlineExceeded:
            require(self._now() >= deadline - _SAME_TIME_S, "an entry failed before its deadline")
            raise
        except EngineFailed:
            require(self._watched_engine.failed_s >= began_s, "an entry failed although the engine did not")
            raise
        except NotReady:
            require(not self.is_open, "a running batcher was not ready")
            raise
        finally:
            late_s = self._now() - max(began_s, deadline)
            require(late_s <= _SAME_TIME_S, "an entry was answered after its deadline", late_s)

    async def drain(self) -> None:
        self.is_open = False
        await super().drain()
        require(not any(self.account.permits.values()), "a batcher was drained while callers held permits")

    async def stop(self) -> None:
        self.is_open = False
        await super().stop()

    def check_rest(self) -> None:
        """Check that nothing is left when all callers have gone."""
        account = self.account
        require(self.windows_queued == 0, "permits leak", self.windows_queued)
        outcomes = account.called, account.finished, account.traced
        require(len(set(outcomes)) == 1, "an entry was not resolved exactly once", outcomes)

    def _note_end(self, runner: asyncio.Task[None]) -> None:
        if not runner.cancelled():
            self._loop.faults.append(f"a batcher has died: {runner.exception()!r}")
