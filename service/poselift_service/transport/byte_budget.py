"""One budget for the bytes of all requests in progress, over every transport.

Limits of each request and of the number of connections multiply to more than the memory of a server. So the bytes of
bodies and messages are counted together, as they arrive, and what exceeds the budget is refused as overloaded.
"""

from pathlib import Path

from poselift_service.errors import Overloaded
from poselift_service.transport.memory import memory_bytes

# A request takes a multiple of its bytes once it is parsed, and models and sessions need memory, too.
_SHARE_OF_MEMORY = 8
_RETRY_AFTER_S = 1.0


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
