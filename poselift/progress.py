"""The progress bar that lifting, training and evaluation show on a terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 30.0
"""Time between two lines of progress where there is no terminal."""


class ProgressBar:
    """A bar on standard error if that is a terminal; nothing otherwise.

    Args:
        title: text before the bar.
        total: steps of the whole task.
        completed: steps that an earlier run has done.
        unit: what is counted, shown after the count.
        transient: remove the bar once it is closed.
    """

    def __init__(self, title: str, total: int, *, completed: int = 0, unit: str = "", transient: bool = False) -> None:
        self._console = Console(stderr=True)
        columns = (
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, console=self._console, transient=transient, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task("", total=total, completed=completed)
        self._bar.start()

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._console.is_terminal

    def advance(self, steps: float) -> None:
        self._bar.advance(self._task, steps)

    def update(self, completed: int, status: str) -> None:
        """Set the number of completed steps, and the text after the count."""
        self._bar.update(self._task, completed=completed, description=status)

    def print(self, text: str) -> None:
        """Print a line above the bar, or to standard error without one."""
        self._console.print(text, soft_wrap=True, highlight=False)

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def progress(windows: int, title: str = "") -> Iterator[Callable[[int], None]]:
    """Show a bar that counts windows and vanishes at the end.

    Yields:
        A function to call with the number of windows that were completed since its last call.
    """
    bar = ProgressBar(title, windows, unit="windows", transient=True)
    try:
        yield bar.advance
    finally:
        bar.close()


@contextmanager
def long_work(total: int, title: str, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a bar that vanishes at the end; without a terminal, print a line each half minute.

    Yields:
        A function to call with the number of steps that were done since its last call.
    """
    bar = ProgressBar(title, total, unit=unit, transient=True)
    try:
        yield bar.advance if bar.is_shown else _Lines(bar, f"{title}: {{:.0f}} of {total} {unit}").advance
    finally:
        bar.close()


class _Lines:
    """Progress as lines of a log."""

    def __init__(self, bar: ProgressBar, line: str) -> None:
        self._bar = bar
        self._line = line
        self._done = 0.0
        self._printed = time.monotonic()

    def advance(self, steps: float) -> None:
        self._done += steps
        if time.monotonic() - self._printed >= LINE_EVERY_S:
            self._printed = time.monotonic()
            self._bar.print(self._line.format(self._done))
