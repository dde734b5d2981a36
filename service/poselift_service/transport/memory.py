"""The memory of this process: how much it may take and takes, how it is given back, and what ends when it is short."""

import asyncio
import ctypes
import gc
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from poselift_service.transport.streams import Streams

# Part of the memory of the container or machine beyond which it is short, and how often this is looked at.
_MOST_MEMORY, _INTERVAL_S = 0.85, 0.25
# Streams that are ended each time.
_ENDED_AT_A_TIME = 20
# A spell of short memory is over when it has not been short for this long.
_CALM_S = 10.0
_CGROUP_FILES = ("memory.max", "memory.limit_in_bytes")  # of version 2 and version 1
_MEBIBYTE = 1 << 20

logger = logging.getLogger(__name__)


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may take: the least limit of its cgroups, or the memory of the machine.

    Args:
        root: where the file systems of the kernel are.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(root)])


def resident_bytes() -> int:
    """The memory that this process takes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


async def give_memory_back() -> None:
    """Collect cyclic garbage of every age, and return what is free to the system.

    The first takes milliseconds, as most objects are frozen. The second is done by glibc's `malloc_trim`, in a thread:
    after a large body or an unloaded model, the heap would keep hundreds of megabytes.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        await asyncio.to_thread(trim, 0)


class MemoryWatch:
    """Ends streams whose messages may be arriving unseen when the process takes most of the memory that it may have.

    The library for gRPC puts messages together without telling how much of them has come.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        capacity: int,
        resident: Callable[[], int] = resident_bytes,
        give_back: Callable[[], Awaitable[None]] = give_memory_back,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the memory of a process with streams.

        Args:
            capacity: bytes that the process may have.
            resident: measures the bytes that it takes.
            give_back: frees what nobody uses; streams are ended only where that is not enough.
        """
        self._streams = streams
        self._capacity = capacity
        self._most = _MOST_MEMORY * capacity
        self._resident = resident
        self._give_back = give_back
        self._clock = clock
        self._spell_ends_s = clock()
        self._is_logged = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.check()

    async def check(self) -> None:
        """End some streams if memory is short and cannot be given back. A spell of short memory is logged once."""
        if self._resident() <= self._most:
            return
        if self._clock() >= self._spell_ends_s:
            self._is_logged = False
        self._spell_ends_s = self._clock() + _CALM_S
        if not self._streams.has_long_wait:
            return
        await self._give_back()
        if self._resident() > self._most:
            self._end_streams()

    def _end_streams(self) -> None:
        ended = 0
        while ended < _ENDED_AT_A_TIME and self._streams.end_longest_wait():
            ended += 1
        if ended and not self._is_logged:
            self._is_logged = True
            sizes = self._resident() // _MEBIBYTE, self._capacity // _MEBIBYTE
            logger.warning("memory is short (%d of %d MiB); streams that wait longest for a message are ended", *sizes)


def _cgroup_limits(root: Path) -> Iterator[int]:
    for folder in _cgroup_folders(root):
        for name in _CGROUP_FILES:
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():
                yield int(text)


def _cgroup_folders(root: Path) -> Iterator[Path]:
    """The folders of the cgroups of this process, up to the outermost; inside of a container only that is there."""
    mount = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        base = mount / "memory" if "memory" in controllers.split(",") else mount
        inner = Path(path.lstrip("/"))
        yield from (base / folder for folder in (inner, *inner.parents))
    yield from (mount, mount / "memory")
