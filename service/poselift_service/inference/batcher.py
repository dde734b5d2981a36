"""Decides which windows run next: a bounded queue in front of one engine.

Callers take a permit before they do any work, so overload is refused at once and never queued: there is none left when
the queue is full, or so long that the work could not be done in the caller's time. The next batch is
formed whenever the engine becomes free, with whatever has arrived by then; no timer ever delays it. Long sequences are
cut when a batch is formed and take turns.

Every entry is resolved exactly once: its poses, an error, or its caller's cancellation.
"""

import asyncio
import contextlib
import enum
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded, ServiceError
from poselift_service.inference.engine import Engine, Slice

_SHORTEST_RETRY_S = 1.0
# Weight of the newest batch in the running estimate of windows per second.
_RATE_SMOOTHING = 0.2
# Share of a caller's time that the work before it, by that estimate, may take. Callers in the queue take turns, so
# those who come later take some of it too.
_SHARE_OF_TIME = 0.8

# Of a batch; the least that those in no hurry get of it, however many live frames there are.
_SHARE_OF_BULK = 1 / 8

logger = logging.getLogger(__name__)


class Priority(enum.IntEnum):
    """Who goes first."""

    LIVE = 0
    BULK = 1


Trace = Callable[[float, float | None, float], None]
"""Is told of each entry the moments when it was submitted, first ran (None if it never did), and was resolved. Called
by the task that waited for it."""


class Observer(Protocol):
    """Whoever wants to know what a queue does. It is told on the event loop, so it must be quick."""

    def batch_started(self, windows: int) -> None:
        """A batch goes to the engine."""

    def batch_failed(self) -> None:
        """The engine has raised on a batch."""

    def windows_refused(self, windows: int) -> None:
        """There was no room, or no time, for so many windows."""

    def entry_finished(self, outcome: str) -> None:
        """An entry has left the queue: "ok", "cancelled", or the code of its error."""


class _Nobody:
    """An observer that looks away."""

    def batch_started(self, windows: int) -> None: ...

    def batch_failed(self) -> None: ...

    def windows_refused(self, windows: int) -> None: ...

    def entry_finished(self, outcome: str) -> None: ...


@dataclass(frozen=True)
class Lifted:
    """What became of one entry.

    Attributes:
        answers: of the engine to each sequence, [W, ...], in the order they came in.
        queue_s: time spent waiting for the engine.
        inference_s: time the batches it was part of took.
    """

    answers: tuple[NDArray[np.float32], ...]
    queue_s: float
    inference_s: float


@dataclass(eq=False)
class Entry:
    """One caller's work and the future it waits for.

    Attributes:
        windows_left: windows that have not gone to the engine yet.
    """

    sequences: Sequence[Slice]
    priority: Priority
    deadline: float
    submitted: float
    future: asyncio.Future[Lifted]
    lifted: list[list[NDArray[np.float32]]] = field(init=False)
    started: float | None = None
    resolved: float | None = None
    inference_s: float = 0.0
    windows_left: int = field(init=False)
    _sequence: int = 0
    _window: int = 0

    def __post_init__(self) -> None:
        self.lifted = [[] for _ in self.sequences]
        self.windows_left = sum(len(sequence.index) for sequence in self.sequences)

    @property
    def is_lifted(self) -> bool:
        """Every window of it has come back."""
        return sum(map(len, self.lifted[-1])) == len(self.sequences[-1].index)

    def cut(self, windows: int) -> "Part":
        """Take the next windows, at most so many, of the sequence whose turn it is."""
        whole = self.sequences[self._sequence]
        stop = min(self._window + windows, len(whole.index))
        part = Part(self, self._sequence, whole.part(self._window, stop))
        self.windows_left -= stop - self._window
        self._window = stop
        if self._window == len(whole.index):
            self._sequence, self._window = self._sequence + 1, 0
        return part


@dataclass(frozen=True)
class Part:
    """A slice in a batch, and whose it is: windows of `entry.sequences[sequence]`."""

    entry: Entry
    sequence: int
    slice: Slice


class Batcher:
    """Feeds one engine. All methods belong to the event loop that `start` was called on."""

    def __init__(
        self,
        engine: Engine,
        *,
        capacity_windows: int,
        observer: Observer | None = None,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        capacity_windows: windows that may wait or run at a time.
        observer: told what happens, to count it.
        trace: told of each entry, in the context of its caller.
        clock: seconds; deadlines are moments of it.
        """
        self._engine = engine
        self._capacity = capacity_windows
        self._observer = observer or _Nobody()
        self._trace = trace
        self._clock = clock
        self._admitted = dict.fromkeys(Priority, 0)
        self._idle = asyncio.Event()
        self._idle.set()
        # Dicts for their order: the next in turn comes first, and whoever leaves is found at once.
        self._waiting: dict[Priority, dict[Entry, None]] = {priority: {} for priority in Priority}
        self._unresolved: set[Entry] = set()
        self._arrived = asyncio.Event()
        self._accepting = False
        self._windows_per_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = 0.0
        self._runner: asyncio.Task[None] | None = None

    @property
    def windows_queued(self) -> int:
        """Windows admitted and not yet answered."""
        return sum(self._admitted.values())

    def start(self) -> None:
        """Begin to admit callers and to run batches."""
        self._accepting = True
        self._runner = asyncio.create_task(self._run())

    @contextlib.contextmanager
    def admit(self, windows: int, *, priority: Priority, deadline: float) -> Iterator[None]:
        """Hold a permit for so many windows; everything done for a request is done inside of it.

        Args:
            deadline: moment of the batcher's clock by which they are wanted.
        Raises:
            Overloaded: there is no room for them now, or they would come too late.
            NotReady: the batcher is not running, or is draining.
        """
        if (refusal := self.refusal(windows, priority=priority, deadline=deadline)) is not None:
            if isinstance(refusal, Overloaded):
                self._observer.windows_refused(windows)
            raise refusal
        self._admitted[priority] += windows
        self._idle.clear()
        try:
            yield
        finally:
            self._admitted[priority] -= windows
            if self.windows_queued == 0:
                self._idle.set()

    def refusal(self, windows: int, *, priority: Priority, deadline: float) -> Overloaded | NotReady | None:
        """What `admit` would raise."""
        if not self._accepting:
            return NotReady("The server does not take requests at the moment: it is starting or stopping.")
        # Whoever comes first is not asked whether the time is enough: it may be, for the estimate is only that.
        ahead = sum(self._admitted[other] for other in Priority if other <= priority)
        is_late = ahead > 0 and self._seconds_for(ahead + windows) > _SHARE_OF_TIME * (deadline - self._clock())
        if is_late or self.windows_queued + windows > self._capacity:
            return Overloaded(retry_after_s=max(self._seconds_for(self.windows_queued), _SHORTEST_RETRY_S))
        return None

    async def lift(self, sequences: Sequence[Slice], *, priority: Priority, deadline: float) -> Lifted:
        """Lift whole sequences. To be called with a permit; cancelling it drops what has not run yet.

        Args:
            sequences: one or more, each with at least one window.
            deadline: moment of the batcher's clock.
        Raises:
            DeadlineExceeded: it passed before the last window was lifted.
            EngineFailed: the engine raised on a batch with windows of these sequences.
            NotReady: the batcher was stopped.
        """
        loop = asyncio.get_running_loop()
        entry = Entry(sequences, priority, deadline, self._clock(), loop.create_future())
        self._unresolved.add(entry)
        self._waiting[priority][entry] = None
        self._arrived.set()
        self._expect_end(deadline)
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
            self._forget(entry)
            self._observer.entry_finished(outcome)
            if self._trace is not None:
                self._trace(entry.submitted, entry.started, self._clock() if entry.resolved is None else entry.resolved)

    async def drain(self) -> None:
        """Admit nobody any more and wait until everyone admitted has been answered."""
        self._accepting = False
        await self._idle.wait()

    async def stop(self) -> None:
        """End at once; whoever still waits gets NotReady."""
        self._accepting = False
        for entry in list(self._unresolved):
            self._fail(entry, NotReady("The server was stopped before the poses were ready."))
        if self._timer is not None:
            self._timer.cancel()
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner  # raises what it may have died of

    async def _run(self) -> None:
        while True:
            while batch := self._form():
                await self._lift(batch)
            # Nothing awaits between finding the queue empty and this line, so no arrival is missed.
            self._arrived.clear()
            await self._arrived.wait()

    def _form(self) -> list[Part]:
        """Take the next batch out of the queue: live before bulk, which is not starved, and does not hold it up."""
        batch: list[Part] = []
        room = self._engine.batch_windows
        live, bulk = (self._waiting[priority] for priority in Priority)
        for_bulk = math.ceil(_SHARE_OF_BULK * room) if bulk and room > 1 else 0
        taken = self._fill(batch, live, room - for_bulk)
        # The live frames of this batch are answered when all of it is lifted.
        self._fill(batch, bulk, min(room - taken, room // 2) if taken else room)
        return batch

    def _fill(self, batch: list[Part], waiting: dict[Entry, None], room: int) -> int:
        """Put so many windows of those who wait into a batch, as far as there are any. Returns how many."""
        taken = 0
        # Long sequences take turns by whole batches: windows side by side share most of their frames, so slices of many
        # sequences would embed many more. Those that fit into half a batch need not wait for their turn.
        for entry in list(waiting):
            if taken >= room // 2:
                break
            if entry.windows_left <= room // 2 - taken:
                taken += self._take(entry, room // 2 - taken, batch)
        while taken < room and waiting:
            taken += self._take(next(iter(waiting)), room - taken, batch)
        return taken

    def _take(self, entry: Entry, windows: int, batch: list[Part]) -> int:
        """Put the next windows of an entry into a batch, at most so many, and the entry at the back of its queue.

        Returns:
            How many.
        """
        if entry.deadline <= self._clock():
            self._fail(entry, DeadlineExceeded())
            return 0
        part = entry.cut(windows)
        batch.append(part)
        waiting = self._waiting[entry.priority]
        del waiting[entry]
        if entry.windows_left:
            waiting[entry] = None
        return len(part.slice.index)

    async def _lift(self, batch: list[Part]) -> None:
        windows = sum(len(part.slice.index) for part in batch)
        self._observer.batch_started(windows)
        started = self._clock()
        for part in batch:
            if part.entry.started is None:
                part.entry.started = started
        try:
            results = await self._engine.lift([part.slice for part in batch])
            _check_lengths(batch, results)
        except Exception as error:
            logger.exception("the engine failed on a batch of %d windows", windows)
            self._observer.batch_failed()
            for entry in {part.entry for part in batch}:
                failed = EngineFailed()
                failed.__cause__ = error
                self._fail(entry, failed)
            return
        seconds = self._clock() - started
        self._update_rate(windows, seconds)
        for entry in {part.entry for part in batch}:
            entry.inference_s += seconds
        for part, answer in zip(batch, results, strict=True):
            part.entry.lifted[part.sequence].append(answer)
        for entry in {part.entry for part in batch}:
            if not entry.windows_left and entry.is_lifted:
                self._answer(entry)

    def _expect_end(self, deadline: float) -> None:
        """Have `_end_late_entries` called then; one timer serves all, for hardly any entry lives until its deadline."""
        if self._timer is None or deadline < self._timer_deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_deadline = deadline
            delay_s = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._end_late_entries)

    def _end_late_entries(self) -> None:
        self._timer = None
        for entry in [entry for entry in self._unresolved if entry.deadline <= self._clock()]:
            self._fail(entry, DeadlineExceeded())
        if self._unresolved:
            self._expect_end(min(entry.deadline for entry in self._unresolved))

    def _answer(self, entry: Entry) -> None:
        if not entry.future.done():
            entry.resolved = self._clock()
            waited_s = entry.resolved - entry.submitted - entry.inference_s
            answers = tuple(np.concatenate(parts) for parts in entry.lifted)
            entry.future.set_result(Lifted(answers, max(0.0, waited_s), entry.inference_s))
        self._forget(entry)

    def _fail(self, entry: Entry, error: ServiceError) -> None:
        if not entry.future.done():
            entry.resolved = self._clock()
            entry.future.set_exception(error)
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._unresolved.discard(entry)
        self._waiting[entry.priority].pop(entry, None)

    def _seconds_for(self, windows: int) -> float:
        """About how long the engine takes for so many; zero as long as it is not known."""
        return windows / self._windows_per_s if self._windows_per_s else 0.0

    def _update_rate(self, windows: int, seconds: float) -> None:
        # Only a busy engine shows what it can do: in small batches windows take longer.
        if seconds > 0 and 2 * windows >= self._engine.batch_windows:
            rate = windows / seconds
            self._windows_per_s += (rate - self._windows_per_s) * (_RATE_SMOOTHING if self._windows_per_s else 1)


def _check_lengths(batch: list[Part], results: Sequence[NDArray[np.float32]]) -> None:
    """An engine that answers with other windows than it was given would mix up its callers' poses."""
    expected, given = [len(part.slice.index) for part in batch], [len(answer) for answer in results]
    if expected != given:
        raise RuntimeError(f"the engine was given slices of {expected} windows and answered {given}")
