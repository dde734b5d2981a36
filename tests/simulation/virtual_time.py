"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do."""

import asyncio
import heapq
import itertools
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar

from tests.simulation.violation import Violation

Done = TypeVar("Done")

# More passes than any healthy schedule needs: two tasks that wake each other for ever are found, too.
_MAX_PASSES = 20_000


class _Call:
    """A callback that waits for its turn: what asyncio and its users need of a handle, and no more."""

    __slots__ = ("arguments", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context | None) -> None:
        self.callback: Callable[..., object] | None = callback
        self.arguments = arguments
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback, self.arguments = None, ()

    def cancelled(self) -> bool:
        return self.is_cancelled


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
        self._soon: deque[_Call] = deque()
        # Timers for the same moment run in the order in which they were set.
        self._timers: list[tuple[float, int, _Call]] = []
        self._numbers = itertools.count()
        # Of this loop alone: asyncio keeps the tasks of all loops, and looks through those of earlier schedules, too.
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Call:
        call = _Call(callback, args, context)
        self._soon.append(call)
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Call:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Call:
        call = _Call(callback, args, context)
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(weakref.ref(task))
        return task

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
        while timers and (timers[0][2].is_cancelled or timers[0][0] <= self._now_s or not ready):
            when, _, call = heapq.heappop(timers)
            if not call.is_cancelled:
                self._now_s = max(self._now_s, when)
                ready.append(call)
        if not ready:
            raise Violation("nothing will ever happen again, and callers are still waiting")
        for _ in range(len(ready)):
            call = ready.popleft()
            if call.is_cancelled:
                continue
            try:
                call.context.run(call.callback, *call.arguments)  # type: ignore[arg-type]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # a cancellation, too, as asyncio does
                name = getattr(call.callback, "__qualname__", call.callback)
                self.faults.append(f"Exception in callback {name}: {error!r}")

    def _write_to_self(self) -> None: ...

    async def _cancel_rest(self) -> None:
        tasks = [task for made in self._tasks if (task := made()) is not None and not task.done()]
        rest = [task for task in tasks if task is not asyncio.current_task()]
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
