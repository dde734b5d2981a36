"""A lock that many may share, or one may have alone."""

import contextlib
import threading
from collections.abc import Iterator


class SharedLock:
    """Held by any number of threads at a time, or by one thread exclusively. It cannot be taken twice by one thread."""

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._changed = threading.Condition()
        self._holders = 0

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others; waits while a thread has it, or waits for it, exclusively."""
        with self._entry, self._changed:
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._entry:
            with self._changed:
                self._changed.wait_for(lambda: not self._holders)
            yield
