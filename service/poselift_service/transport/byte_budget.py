"""One budget for the bytes of all requests in progress, over every transport.

Limits of each request and of the number of connections multiply to more than the memory of a server. So the bytes of
bodies and messages are counted together, as they arrive, and what exceeds the budget is refused as overloaded.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from poselift_service.errors import Overloaded

# A request takes a multiple of its bytes once it is parsed, and models and sessions need memory, too.
_SHARE_OF_MEMORY = 8
_RETRY_AFTER_S = 1.0
_CGROUP_FILES = ("memory.max", "memory.limit_in_bytes")  # of version 2 and version 1


class ByteBudget:
    """Bytes that may be held at a time. It belongs to one event loop."""

    def __init__(self, capacity: int) -> None:
        """Create a budget.

        Args:
            capacity: most bytes.
        """
        self.capacity = capacity
        self.used = 0

    def hold(self) -> "ByteHold":
        """Begin to hold bytes, none at first."""
        return ByteHold(self)


class ByteHold:
    """The bytes that one request holds; `release` must follow."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held = 0

    def grow(self, more: int) -> None:
        """Hold some bytes more; raises as `resize` does."""
        self.resize(self._held + more)

    def resize(self, held: int) -> None:
        """Hold this number of bytes from now on.

        Raises:
            Overloaded: there is no room for them; nothing was changed.
        """
        budget, more = self._budget, held - self._held
        if more > 0 and budget.used + more > budget.capacity:
            full = f"Requests hold {budget.used} of {budget.capacity} bytes"
            raise Overloaded(_RETRY_AFTER_S, f"{full} (setting max_bytes_in_flight); try again later.")
        budget.used += more
        self._held = held

    def release(self) -> None:
        """Hold nothing any more."""
        self.resize(0)


def default_capacity(max_body_bytes: int, *, root: Path = Path("/")) -> int:
    """A budget that fits the memory of this process, and at least a few of the largest bodies.

    Args:
        root: where the file systems of the kernel are.
    """
    return max(memory_bytes(root) // _SHARE_OF_MEMORY, 4 * max_body_bytes)


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may take: the least limit of its cgroups, or the memory of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(root)])


def resident_bytes() -> int:
    """The memory that this process takes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


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
