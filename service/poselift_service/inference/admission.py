"""Admission to a queue: permits, the estimated rate of the engine, and the retry hint of a refusal.

Callers take a permit before they do any work, so overload is refused at once instead of queued: when the queue is full,
or when it is so long that the work could not be done before the caller's deadline.
"""

import asyncio
import itertools
import math
from collections.abc import Callable

from poselift_service.errors import NotReady, Overloaded
from poselift_service.inference.queue import Priority

_MIN_RETRY_S = 1.0
# Weight of the newest batch in the moving average of windows per second.
_RATE_SMOOTHING = 0.2
# Fraction of the time until a caller's deadline that the work ahead of it may take, as estimated. The rest is for later
# callers, which take turns with it.
_MAX_DEADLINE_FRACTION = 0.8
# Long clips fill a queue up to its capacity, and take seconds; short requests, which go before them or take turns with
# them, find room beyond it and do not wait for their end. As fractions of the capacity: what is short, and the room.
_SHORT_FRACTION, _RESERVE_FRACTION = 0.01, 0.1


class Admission:
    """Permits for the windows of one engine.

    Attributes:
        is_open: whether callers are admitted at all.
    """

    def __init__(self, capacity_windows: int, clock: Callable[[], float]) -> None:
        """Admit up to `capacity_windows` windows at a time; deadlines are times of `clock`.

        Short requests, of up to a hundredth of the capacity, are admitted up to a tenth more.
        """
        self.is_open = False
        self._capacity = capacity_windows
        self._short = math.floor(_SHORT_FRACTION * capacity_windows)
        self._reserve = math.floor(_RESERVE_FRACTION * capacity_windows)
        self._clock = clock
        self._admitted = dict.fromkeys(itertools.product(Priority, (True, False)), 0)
        self._idle = asyncio.Event()
        self._idle.set()
        self._windows_per_s = 0.0

    @property
    def windows(self) -> int:
        """Number of windows that hold a permit."""
        return sum(self._admitted.values())

    def take(self, windows: int, priority: Priority) -> None:
        """Take a permit for some windows, after `refusal` has been asked."""
        self._admitted[priority, self._is_short(windows)] += windows
        self._idle.clear()

    def release(self, windows: int, priority: Priority) -> None:
        """Return a permit."""
        self._admitted[priority, self._is_short(windows)] -= windows
        if self.windows == 0:
            self._idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no permit is held."""
        await self._idle.wait()

    def refusal(self, windows: int, *, priority: Priority, deadline: float) -> Overloaded | NotReady | None:
        """Return the error with which these windows are refused now, or None if they are admitted."""
        if not self.is_open:
            return NotReady("The server does not take requests at the moment: it is starting or stopping.")
        # With nothing ahead of it, a request is always admitted: its time may suffice, the rate is only an estimate.
        is_short = self._is_short(windows)
        ahead = sum(
            admitted
            for (other, other_is_short), admitted in self._admitted.items()
            if other <= priority and (other_is_short or not is_short)
        )
        time_left_s = deadline - self._clock()
        is_late = ahead > 0 and self._seconds_for(ahead + windows) > _MAX_DEADLINE_FRACTION * time_left_s
        capacity = self._capacity + (self._reserve if is_short else 0)
        if is_late or self.windows + windows > capacity:
            return Overloaded(retry_after_s=max(self._seconds_for(self.windows), _MIN_RETRY_S))
        return None

    def update_rate(self, windows: int, seconds: float) -> None:
        """Update the estimated rate with a batch that took some time."""
        rate = windows / seconds
        self._windows_per_s += (rate - self._windows_per_s) * (_RATE_SMOOTHING if self._windows_per_s else 1)

    def _is_short(self, windows: int) -> bool:
        return windows <= self._short

    def _seconds_for(self, windows: int) -> float:
        """Estimate how long the engine takes for some windows; zero until a rate is known."""
        return windows / self._windows_per_s if self._windows_per_s else 0.0
