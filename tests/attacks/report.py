"""What is printed of the attacks."""

import sys

from tests.attacks.attack import Result

MOST_STALL_S, MOST_P99_S, MOST_GROWTH = 0.150, 0.250, 0.05
_COLUMNS = """
| attack | stall, ms (before) | victim p99, ms (before) | failed | memory before, peak, after, MB | missed |
|---|---|---|---|---|---|
"""


class Report:
    """A table that grows by a row for each attack."""

    def __init__(self) -> None:
        self._missed: list[str] = []
        self._attacks = 0
        sys.stdout.write(_COLUMNS)

    def show(self, result: Result) -> None:
        """Print the row of an attack."""
        self._attacks += 1
        missed = missed_goals(result)
        if missed:
            self._missed.append(result.name)
        ms = f"{1000 * result.stall_s:.0f} ({1000 * result.control_stall_s:.0f})"
        p99 = f"{1000 * result.p99_s:.0f} ({1000 * result.control_p99_s:.0f})"
        memory = f"{result.before_mb:.0f}, {result.peak_mb:.0f}, {result.after_mb:.0f}"
        failed = f"{result.failed} of {result.frames}" if result.failed else "0"
        sys.stdout.write(f"| {result.name} | {ms} | {p99} | {failed} | {memory} | {', '.join(missed)} |\n")
        sys.stdout.flush()

    def end(self) -> int:
        """Print the last line. Returns the exit code of the command."""
        named = ": " + "; ".join(self._missed) if self._missed else ""
        sys.stdout.write(f"\n{self._attacks} attacks, {len(self._missed)} of them over a goal{named}.\n")
        return bool(self._missed)


def missed_goals(result: Result) -> list[str]:
    """The goals that an attack misses, other than those that were missed before it."""
    if result.error:
        return [result.error]
    found = {
        "stall": result.stall_s > max(MOST_STALL_S, 2 * result.control_stall_s),
        "p99": result.p99_s > max(MOST_P99_S, 2 * result.control_p99_s),
        "failed": result.failed > 0,
        "memory": result.after_mb > (1 + MOST_GROWTH) * result.before_mb,
    }
    return [name for name, is_missed in found.items() if is_missed]
