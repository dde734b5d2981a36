"""Forms the next batch of an engine from its queue.

Live entries go first, but never take a whole batch from bulk entries. Long sequences are cut into slices and take turns
by whole batches.
"""

import math

from poselift_service.errors import DeadlineExceeded
from poselift_service.inference.queue import Entry, EntryQueue, Part, Priority

# Fraction of a batch that is reserved for bulk entries, however many live frames are waiting.
_MIN_BULK_FRACTION = 1 / 8


def form_batch(queue: EntryQueue, max_windows: int, now: float) -> list[Part]:
    """Take the next batch out of the queue; entries past their deadline fail instead.

    Live entries go first. A fraction of the batch stays reserved for bulk entries, so that they are not starved;
    next to live entries they get at most half of it, because these wait for the whole batch.
    """
    batch: list[Part] = []
    live, bulk = (queue.of(priority) for priority in Priority)
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
