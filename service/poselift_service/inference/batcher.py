"""Runs the batches of one engine.

The next batch is formed as soon as the engine is free, from whatever has arrived by then; no timer ever delays it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poselift.networks.network import DeviceLost
from poselift.networks.slice import Slice
from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded, ServiceError
from poselift_service.inference.admission import Admission
from poselift_service.inference.batch_forming import form_batch
from poselift_service.inference.queue import Entry, EntryQueue, EntryResult, Part, Priority

logger = logging.getLogger(__name__)

Trace = Callable[[float, float | None, float], None]
"""Called for each entry, by the task that waited for it, with the times when the entry was submitted, first ran (None
if it never did), and was resolved."""


class Engine(Protocol):
    """What the batcher needs of an engine."""

    @property
    def batch_windows(self) -> int:
        """Most windows to give it at a time."""

    async def lift(self, batch: Sequence[Slice]) -> Sequence[NDArray[np.float32]]:
        """Lift each slice, as `Network.lift` does. May raise anything, and then the whole batch has failed."""


class Observer(Protocol):
    """Observes a batcher, for metrics. It is called on the event loop, so it must be fast."""

    def batch_started(self, windows: int) -> None:
        """A batch goes to the engine."""

    def batch_failed(self) -> None:
        """The engine raised an error on a batch."""

    def windows_refused(self, windows: int) -> None:
        """Windows were refused for lack of room or time."""

    def entry_finished(self, outcome: str) -> None:
        """An entry left the queue: "ok", "cancelled", or its error code."""


class NullObserver:
    """An observer that does nothing."""

    def batch_started(self, windows: int) -> None: ...

    def batch_failed(self) -> None: ...

    def windows_refused(self, windows: int) -> None: ...

    def entry_finished(self, outcome: str) -> None: ...


class Batcher:
    """Batches the work of many callers for one engine. All methods must be called on the event loop of `start`."""

    def __init__(
        self,
        engine: Engine,
        *,
        capacity_windows: int,
        observer: Observer | None = None,
        trace: Trace | None = None,
        device_lost: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve an engine.

        Args:
            capacity_windows: most windows that may wait or run at a time.
            observer: observes batches, entries and refusals.
            trace: called for each entry, in the context of its caller.
            device_lost: called when the engine's device no longer works in this process.
            clock: returns seconds; deadlines are times of it.
        """
        self._engine = engine
        self._observer = observer or NullObserver()
        self._trace = trace
        self._device_lost = device_lost
        self._clock = clock
        self._admission = Admission(capacity_windows, clock)
        self._queue = EntryQueue()
        # Ordered, as the entries of a batch are below, so that a simulated schedule runs in the same way each time.
        self._unresolved: dict[Entry, None] = {}
        self._arrived = asyncio.Event()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._expiry_deadline = 0.0
        self._runner: asyncio.Task[None] | None = None

    @property
    def windows_queued(self) -> int:
        """Number of windows admitted and not yet answered."""
        return self._admission.windows

    def start(self) -> None:
        """Begin to admit callers and to run batches."""
        self._admission.is_open = True
        self._runner = asyncio.create_task(self._run())

    @contextlib.contextmanager
    def admit(self, windows: int, *, priority: Priority, deadline: float) -> Iterator[None]:
        """Hold a permit for some windows; all work for a request is done inside this context.

        Args:
            deadline: time of the batcher's clock by which the caller needs its result.
        Raises:
            Overloaded: there is no room for the windows now, or they would be lifted too late.
            NotReady: the batcher is not running, or is draining.
        """
        if (refusal := self.refusal(windows, priority=priority, deadline=deadline)) is not None:
            if isinstance(refusal, Overloaded):
                self._observer.windows_refused(windows)
            raise refusal
        self._admission.take(windows, priority)
        try:
            yield
        finally:
            self._admission.release(windows, priority)

    def refusal(self, windows: int, *, priority: Priority, deadline: float) -> Overloaded | NotReady | None:
        """Return the error that `admit` would raise, or None."""
        return self._admission.refusal(windows, priority=priority, deadline=deadline)

    async def lift(self, sequences: Sequence[Slice], *, priority: Priority, deadline: float) -> EntryResult:
        """Lift whole sequences. Call it with a permit; cancelling it drops the windows that have not run yet.

        Args:
            sequences: one or more, each with at least one window.
            deadline: time of the batcher's clock.
        Raises:
            DeadlineExceeded: the deadline passed before the last window was lifted.
            EngineFailed: the engine raised an error on a batch with windows of these sequences.
            NotReady: the batcher was stopped.
        """
        loop = asyncio.get_running_loop()
        entry = Entry(sequences, priority, deadline, self._clock(), loop.create_future())
        self._unresolved[entry] = None
        self._queue.add(entry)
        self._arrived.set()
        self._schedule_expiry(deadline)
        outcome = "ok"
        try:
            return await entry.future
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self._remove(entry)
            self._observer.entry_finished(outcome)
            if self._trace is not None:
                self._trace(entry.submitted, entry.started, self._clock() if entry.resolved is None else entry.resolved)

    async def drain(self) -> None:
        """Stop admitting callers and wait until every admitted caller has been answered."""
        self._admission.is_open = False
        await self._admission.wait_until_idle()

    async def stop(self) -> None:
        """Stop at once; entries that are still waiting fail with NotReady."""
        self._admission.is_open = False
        for entry in list(self._unresolved):
            self._fail(entry, NotReady("The server was stopped before the poses were ready."))
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner  # raises the error that ended it, if any

    async def _run(self) -> None:
        while True:
            while batch := form_batch(self._queue, self._engine.batch_windows, self._clock()):
                await self._run_batch(batch)
            # Nothing is awaited between finding the queue empty and this line, so no arrival is missed.
            self._arrived.clear()
            await self._arrived.wait()

    async def _run_batch(self, batch: list[Part]) -> None:
        windows = sum(len(part.slice.index) for part in batch)
        entries = dict.fromkeys(part.entry for part in batch)
        self._observer.batch_started(windows)
        started = self._clock()
        for part in batch:
            if part.entry.started is None:
                part.entry.started = started
        try:
            answers = await self._engine.lift([part.slice for part in batch])
            _check_lengths(batch, answers)
        except Exception as error:
            logger.exception("the engine failed on a batch of %d windows", windows)
            self._observer.batch_failed()
            for entry in entries:
                failed = EngineFailed()
                failed.__cause__ = error
                self._fail(entry, failed)
            if isinstance(error, DeviceLost):
                self._device_lost()
            return
        seconds = self._clock() - started
        # Windows take longer in small batches, so only a busy engine shows its rate.
        if seconds > 0 and 2 * windows >= self._engine.batch_windows:
            self._admission.update_rate(windows, seconds)
        for entry in entries:
            entry.inference_s += seconds
        for part, answer in zip(batch, answers, strict=True):
            part.entry.answers[part.sequence].append(answer)
        for entry in entries:
            if not entry.windows_left and entry.is_complete:
                entry.succeed(self._clock())
                self._remove(entry)

    def _schedule_expiry(self, deadline: float) -> None:
        """Call `_expire_overdue` at a deadline. One timer serves all entries: hardly any lives until its deadline."""
        if self._expiry_timer is None or deadline < self._expiry_deadline:
            if self._expiry_timer is not None:
                self._expiry_timer.cancel()
            self._expiry_deadline = deadline
            delay_s = max(0.0, deadline - self._clock())
            self._expiry_timer = asyncio.get_running_loop().call_later(delay_s, self._expire_overdue)

    def _expire_overdue(self) -> None:
        self._expiry_timer = None
        for entry in [entry for entry in self._unresolved if entry.deadline <= self._clock()]:
            self._fail(entry, DeadlineExceeded())
        if self._unresolved:
            self._schedule_expiry(min(entry.deadline for entry in self._unresolved))

    def _fail(self, entry: Entry, error: ServiceError) -> None:
        entry.fail(error, self._clock())
        self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        self._unresolved.pop(entry, None)
        self._queue.remove(entry)


def _check_lengths(batch: list[Part], answers: Sequence[NDArray[np.float32]]) -> None:
    """Raise RuntimeError if the engine's answers do not match its slices: callers would get each other's poses."""
    expected, given = [len(part.slice.index) for part in batch], [len(answer) for answer in answers]
    if expected != given:
        raise RuntimeError(f"the engine was given slices of {expected} windows and answered {given}")
