"""The queue of an engine, and its entries.

Each entry is resolved exactly once: with its result, an error, or its caller's cancellation.
"""

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poselift.networks.slice import Slice
from poselift_service.errors import ServiceError


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

    def of(self, priority: Priority) -> dict[Entry, None]:
        """Entries of a priority, the next in turn first."""
        return self._waiting[priority]

    def add(self, entry: Entry) -> None:
        self._waiting[entry.priority][entry] = None

    def remove(self, entry: Entry) -> None:
        """Remove an entry if it is in the queue."""
        self._waiting[entry.priority].pop(entry, None)
