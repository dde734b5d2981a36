"""How a run ends before its last step: signals and the time limit."""

import math
import signal
import time
from types import FrameType
from typing import Any, Self


class TrainingStopped(Exception):
    """The run was asked to stop and has saved its checkpoint: no error, but no result yet either.

    Attributes:
        exit_code: 0 when the time limit was reached, 128 + the signal's number for a signal.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Stop:
    """Records SIGTERM, Ctrl-C and the end of the time limit, for the loop to check between steps.

    The handlers are active inside the `with` block. After the first signal the previous handlers are restored, so that
    a second signal ends the process at once.

    Args:
        time_limit_s: seconds from now on; None: no limit.
    """

    def __init__(self, time_limit_s: float | None) -> None:
        self._deadline = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
        self._signal: signal.Signals | None = None
        self._previous_handlers: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self._signal is not None or time.monotonic() >= self._deadline

    @property
    def reason(self) -> str:
        if self._signal is not None:
            return self._signal.name
        return "time limit" if time.monotonic() >= self._deadline else "another process was told to stop"

    @property
    def exit_code(self) -> int:
        return 128 + self._signal if self._signal else 0

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore_handlers()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._previous_handlers:
            signal.signal(*self._previous_handlers.popitem())
