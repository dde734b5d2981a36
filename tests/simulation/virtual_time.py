"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do."""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from tests.simulation.violation import Violation

Done = TypeVar("Done")

# More passes than any healthy schedule needs: two tasks that wake each other for ever are found, too.
_MAX_PASSES = 20_000


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in asyncio's own order, in virtual time. It reads no files and no sockets.

    The methods that it replaces do the same as in asyncio, without its care for threads, signals and debugging: a
    schedule spends much of its time in them.

    Attributes:
        faults: errors in callbacks, and errors that nobody has looked at; asyncio would only log them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._now_s = 0.0
        self._passes = 0
        self._soon: deque[asyncio.Handle] = deque()
        # Timers for the same moment run in the order in which they were set.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def finish(self) -> None:
        """Cancel what is left, and close."""
        self._passes = 0
        self.faults.clear()
        try:
            self.run_until_complete(self._cancel_rest())
        finally:
            self.close()

    def _run_once(self) -> None:
        self._passes += 1
        if self.faults:
            raise Violation(self.faults.pop(0))
        if self._passes > _MAX_PASSES:
            raise Violation(f"the schedule has not ended after {_MAX_PASSES} passes of the event loop")
        ready, timers = self._soon, self._timers
        while timers and (timers[0][2].cancelled() or timers[0][0] <= self._now_s or not ready):
            when, _, timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._now_s = max(self._now_s, when)
                ready.append(timer)
        if not ready:
            raise Violation("nothing will ever happen again, and callers are still waiting")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def _write_to_self(self) -> None: ...

    async def _cancel_rest(self) -> None:
        rest = asyncio.all_tasks(self) - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")


def current_loop() -> VirtualLoop:
    """The loop that runs this schedule."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run(main: Coroutine[Any, Any, Done], loop: VirtualLoop) -> Done:
    """Run a coroutine to its end, and cancel what is left.

    Raises:
        Violation: an error was raised where nobody would have seen it, or nothing will ever happen again.
    """
    try:
        return loop.run_until_complete(main)
    finally:
        loop.finish()
