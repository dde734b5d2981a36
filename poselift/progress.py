"""The progress bar that training and evaluation show on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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

    def advance(self, steps: int) -> None:
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
