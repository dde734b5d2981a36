"""How many windows a batch may have while the device is short of memory."""

import time
from collections.abc import Callable

# Time after which a larger batch is tried again. It doubles each time that the memory still does not suffice.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 3600.0


class BatchLimit:
    """Most windows per batch: halved when memory runs out, and doubled again later.

    Loading another model takes memory for a while; a model that is served meanwhile must not stay slow for good.
    """

    def __init__(self, windows: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the number of windows that is fastest."""
        self._fastest = self._windows = windows
        self._clock = clock
        self._wait_s = _FIRST_WAIT_S
        self._retry_at = 0.0
        self._retried = False

    @property
    def windows(self) -> int:
        """Most windows to give the network at a time, now."""
        if self._windows < self._fastest and self._clock() >= self._retry_at:
            self._windows = min(2 * self._windows, self._fastest)
            self._retry_at = self._clock() + self._wait_s
            self._retried = True
        return self._windows

    def halve(self, failed_windows: int) -> tuple[int, float]:
        """Take note that so many windows did not fit; returns the limit, and for how long it holds, in seconds."""
        if self._retried:
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        self._retried = False
        self._windows = max(1, min(self._windows, failed_windows) // 2)
        self._retry_at = self._clock() + self._wait_s
        return self._windows, self._wait_s
