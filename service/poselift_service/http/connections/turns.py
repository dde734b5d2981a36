"""Turns on the event loop for connections that send more than can be parsed at once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

# Longest time for which one connection is parsed at a time, and for which all of them together are before the event
# loop serves everything else.
TURN_S, _ROUND_S = 0.002, 0.005


class Turns:
    """Lets connections take turns, so that all of them together hold the event loop for moments only."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_planned = False

    def wait(self, work: Callable[[], None]) -> None:
        """Call something when it is its turn, but not at once."""
        self._waiting.append(work)
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._is_planned:
            self._is_planned = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        ends_s = time.monotonic() + _ROUND_S
        try:
            while self._waiting and time.monotonic() < ends_s:
                self._waiting.popleft()()
        finally:
            self._is_planned = False
            self._plan()
