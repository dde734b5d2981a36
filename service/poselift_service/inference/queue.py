"""The queue of an engine: its entries, and how the next batch is formed from them.

Live entries go first, but never take a whole batch from bulk entries. Long sequences are cut into slices and take turns
by whole batches. Each entry is resolved exactly once: with its result, an error, or its caller's cancellation.
"""

import asyncio
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poselift_service.errors import DeadlineExceeded, ServiceError
from poselift_service.inference.slice import Slice

# Fraction of a batch that is reserved for bulk entries, however many live frames are waiting.
_MIN_BULK_FRACTION = 1 / 8


class Priority(enum.IntEnum):
    """The order in which entries are batched."""

    LIVE = 0
    BULK = 1


@dataclass(frozen=True)
class EntryResult:
    """The result of an entry.

    Attributes:
        answers: the engine's answer to each sequence, [W, ...], in the order of the sequences.
        queue_s: time spent waiting for the engine.
        inference_s: total time of the batches that held a part of the entry.
    """

    answers: tuple[NDArray[np.float32], ...]
    queue_s: float
    inference_s: float


@dataclass(eq=False)
class Entry:
    """The sequences of one caller, and the future that the caller waits for.

    All times are those of the batcher's clock.

    Attributes:
        submitted, started, resolved: when it was queued, first ran, and was resolved; None until then.
        inference_s: total time of the batches that held a part of it.
        windows_left: number of windows that have not been given to the engine yet.
        answers: for each sequence, the answers to its parts so far.
    """

    sequences: Sequence[Slice]
    priority: Priority
    deadline: float
    submitted: float
    future: asyncio.Future[EntryResult]
    started: float | None = None
    resolved: float | None = None
    inference_s: float = 0.0
    windows_left: int = field(init=False)
    answers: list[list[NDArray[np.float32]]] = field(init=False)
    _next_sequence: int = 0
    _next_window: int = 0

    def __post_init__(self) -> None:
        self.answers = [[] for _ in self.sequences]
        self.windows_left = sum(len(sequence.index) for sequence in self.sequences)

    @property
    def is_complete(self) -> bool:
        """Whether the engine has answered every window."""
        return sum(map(len, self.answers[-1])) == len(self.sequences[-1].index)

    def cut(self, max_windows: int) -> "Part":
        """Take the next windows of the current sequence."""
        sequence = self.sequences[self._next_sequence]
        stop = min(self._next_window + max_windows, len(sequence.index))
        part = Part(self, self._next_sequence, sequence.part(self._next_window, stop))
        self.windows_left -= stop - self._next_window
        self._next_window = stop
        if self._next_window == len(sequence.index):
            self._next_sequence, self._next_window = self._next_sequence + 1, 0
        return part

    def succeed(self, now: float) -> None:
        """Resolve the entry with its answers, unless it is resolved already."""
        if not self.future.done():
            self.resolved = now
            queue_s = max(0.0, now - self.submitted - self.inference_s)
            answers = tuple(np.concatenate(parts) for parts in self.answers)
            self.future.set_result(EntryResult(answers, queue_s, self.inference_s))

    def fail(self, error: ServiceError, now: float) -> None:
        """Resolve the entry with an error, unless it is resolved already."""
        if not self.future.done():
            self.resolved = now
            self.future.set_exception(error)


@dataclass(frozen=True)
class Part:
    """A slice in a batch: windows of `entry.sequences[sequence]`."""

    entry: Entry
    sequence: int
    slice: Slice


class EntryQueue:
    """Entries with windows that have not been given to the engine yet, in the order of their turns."""

    def __init__(self) -> None:
        # Ordered dicts: the next entry in turn comes first, and a cancelled one is removed in constant time.
        self._waiting: dict[Priority, dict[Entry, None]] = {priority: {} for priority in Priority}

    def add(self, entry: Entry) -> None:
        self._waiting[entry.priority][entry] = None

    def remove(self, entry: Entry) -> None:
        """Remove an entry if it is in the queue."""
        self._waiting[entry.priority].pop(entry, None)

    def form_batch(self, max_windows: int, now: float) -> list[Part]:
        """Take the next batch out of the queue; entries past their deadline fail instead.

        Live entries go first. A fraction of the batch stays reserved for bulk entries, so that they are not starved;
        next to live entries they get at most half of it, because these wait for the whole batch.
        """
        batch: list[Part] = []
        live, bulk = (self._waiting[priority] for priority in Priority)
        reserved = math.ceil(_MIN_BULK_FRACTION * max_windows) if bulk and max_windows > 1 else 0
        live_windows = _fill(batch, live, max_windows - reserved, now)
        bulk_windows = min(max_windows - live_windows, max_windows // 2) if live_windows else max_windows
        _fill(batch, bulk, bulk_windows, now)
        return batch


def _fill(batch: list[Part], waiting: dict[Entry, None], max_windows: int, now: float) -> int:
    """Move waiting windows into a batch. Returns how many."""
    taken = 0
    # Long sequences take turns by whole batches: adjacent windows share most of their frames, so slices of many
    # sequences would embed many more frames. Entries that fit into half of a batch need not wait for their turn.
    for entry in list(waiting):
        if taken >= max_windows // 2:
            break
        if entry.windows_left <= max_windows // 2 - taken:
            taken += _take(entry, max_windows // 2 - taken, batch, waiting, now)
    while taken < max_windows and waiting:
        taken += _take(next(iter(waiting)), max_windows - taken, batch, waiting, now)
    return taken


def _take(entry: Entry, max_windows: int, batch: list[Part], waiting: dict[Entry, None], now: float) -> int:
    """Move the next windows of an entry into a batch, and the entry to the end of the queue. Returns how many."""
    del waiting[entry]
    if entry.deadline <= now:
        entry.fail(DeadlineExceeded(), now)
        return 0
    part = entry.cut(max_windows)
    batch.append(part)
    if entry.windows_left:
        waiting[entry] = None
    return len(part.slice.index)
