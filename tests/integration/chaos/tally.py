"""What happened in a run, counted by many threads."""

import threading
from collections import Counter
from dataclasses import dataclass, field

# As many violations are told in full.
_MOST_TOLD = 20


@dataclass
class Tally:
    """What happened.

    Attributes:
        faults: by kind.
        streams: that were answered to their end, by transport.
        frames: with an answer, each counted once.
        resent: messages that were sent again because they had no answer.
        refusals: errors that streams were told, by code.
        rewinds: how often a session had lost its newest frames, said so, and was sent them again.
        rewound: frames that had been answered and were sent again for that.
        lifts: clips that were lifted beside the streams.
        reloads: versions of a model that were loaded or unloaded beside them.
        violations: what must not happen, each with what happened.
    """

    faults: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    resent: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    rewinds: int = 0
    rewound: int = 0
    lifts: int = 0
    reloads: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    unknown: int = 0
    largest_difference_m: float = 0.0
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note_fault(self, kind: str) -> None:
        with self.lock:
            self.faults[kind] += 1

    def note_refusal(self, code: str) -> None:
        with self.lock:
            self.refusals[code] += 1

    def note_violation(self, what: str, *, lost: int = 0, doubled: int = 0, wrong: int = 0, unknown: int = 0) -> None:
        with self.lock:
            self.violations.append(what)
            self.lost += lost
            self.doubled += doubled
            self.wrong += wrong
            self.unknown += unknown

    def line(self) -> str:
        """The progress of a run."""
        with self.lock:
            return (
                f"{self.faults.total()} faults, {self.streams.total()} streams, {self.frames} frames, "
                f"{self.resent} messages resent, {self.lifts} lifts, {self.reloads} reloads, "
                f"{len(self.violations)} violations"
            )

    def __str__(self) -> str:
        counted = (
            ("faults", f"{self.faults.total()} ({_listed(self.faults)})"),
            ("streams", f"{self.streams.total()} ({_listed(self.streams)})"),
            ("frames", self.frames),
            ("messages resent", self.resent),
            ("refusals", _listed(self.refusals)),
            ("announced losses", f"{self.rewinds}, of {self.rewound} frames that were sent again"),
            ("clips lifted beside", self.lifts),
            ("models loaded or unloaded", self.reloads),
            ("frames lost", self.lost),
            ("frames doubled", self.doubled),
            ("wrong poses", self.wrong),
            ("living sessions unknown", self.unknown),
            ("largest difference", f"{self.largest_difference_m:.1e} m"),
            ("violations", len(self.violations)),
        )
        lines = [f"{name:26} {value}" for name, value in counted]
        return "\n".join([*lines, *self.violations[:_MOST_TOLD]])


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counter.items())) or "none"
