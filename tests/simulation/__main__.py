"""Simulates schedules of live sessions and batches until one breaks a promise, or the number asked for is reached.

python -m tests.simulation
Tiny variant: python -m tests.simulation --schedules 1000
One again, with all of its events: python -m tests.simulation --seed 12345
With a planted bug: python -m tests.simulation --schedules 1000 --mutation reply_applied_twice

Every schedule follows from its seed alone: arrivals, cancellations, deadlines, crashes of replicas, failovers of the
store, and messages that are delayed, lost, repeated or overtaken. The classes of the server run; the clock, the client
of redis-py and the engine are simulated. Ctrl-C stops it and prints what has been found so far.
"""

import argparse
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import NamedTuple

from tests.simulation.mutations import MUTATIONS
from tests.simulation.schedule import run_schedule

_CHUNK = 500
_PROCESSES = os.cpu_count() or 1
_MAX_SHOWN = 20
_SHOW_EVERY_S = 10.0


class Chunk(NamedTuple):
    """What became of some schedules: how many ran, and the broken ones with their seeds."""

    schedules: int
    broken: list[tuple[int, str]]


def main() -> int:
    """Run the command. Returns its exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first schedule")
    parser.add_argument("--seed", type=int, help="run this one only, and print its events")
    parser.add_argument("--processes", type=int, default=_PROCESSES, help="by default, as many as cores")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--mutation", choices=MUTATIONS, help="plant a bug")
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options.seed, options.mutation)
    return _simulate(options)


def _replay(seed: int, mutation: str | None) -> int:
    with planted(mutation):
        outcome = run_schedule(seed, keeps_text=True)
    sys.stdout.write("\n".join(outcome.trail.lines or []) + "\n")
    sys.stdout.write(f"seed {seed}: {outcome.broken or 'no violation'}\n")
    return outcome.broken is not None


def _simulate(options: argparse.Namespace) -> int:
    broken: list[tuple[int, str]] = []
    progress, done = _Progress(options.schedules), 0
    stop = options.first + options.schedules
    seeds = iter(range(options.first, stop, _CHUNK))
    with ProcessPoolExecutor(options.processes, initializer=_prepare) as pool:
        running: set[Future[Chunk]] = set()
        try:
            while progress.elapsed_s < 60 * options.minutes:
                while len(running) < 2 * options.processes and (first := next(seeds, None)) is not None:
                    chunk = range(first, min(first + _CHUNK, stop))
                    running.add(pool.submit(run_chunk, chunk, options.mutation))
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for chunk_done in (future.result() for future in finished):
                    done += chunk_done.schedules
                    _show_broken(chunk_done.broken, options.mutation, room=_MAX_SHOWN - len(broken))
                    broken += chunk_done.broken
                progress.show(done, len(broken))
        except KeyboardInterrupt:
            sys.stdout.write("\nStopped.")
        for future in running:
            future.cancel()
    return _report(done, broken, progress.elapsed_s)


def run_chunk(seeds: range, mutation: str | None) -> Chunk:
    """Run the schedules of some seeds."""
    with planted(mutation):
        outcomes = (run_schedule(seed, is_recorded=False) for seed in seeds)
        broken = [(outcome.seed, outcome.broken) for outcome in outcomes if outcome.broken is not None]
    return Chunk(len(seeds), broken)


@contextlib.contextmanager
def planted(mutation: str | None) -> Iterator[None]:
    """Plant a bug, if one is named; and log nothing, for simulated failures are no news."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with MUTATIONS[mutation]() if mutation else contextlib.nullcontext():
            yield
    finally:
        logging.disable(before)


def _prepare() -> None:
    """Begin a process: it leaves Ctrl-C to its parent, and collects garbage less often."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


class _Progress:
    """Shows how far the schedules are: in place on a terminal, else as a line every few seconds."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._started_s = self._shown_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def show(self, done: int, broken: int) -> None:
        if not sys.stdout.isatty() and time.monotonic() < self._shown_s + _SHOW_EVERY_S:
            return
        self._shown_s = time.monotonic()
        rate = max(done, 1) / self.elapsed_s
        left_min = (self._wanted - done) / rate / 60
        line = f"{done:,} of {self._wanted:,} schedules, {rate:.0f}/s, {left_min:.0f} min left, {broken} broken"
        sys.stdout.write(f"{line:<78}\r" if sys.stdout.isatty() else f"{line}\n")
        sys.stdout.flush()


def _show_broken(broken: list[tuple[int, str]], mutation: str | None, *, room: int) -> None:
    for seed, promise in broken[: max(0, room)]:
        again = f"--seed {seed} --mutation {mutation}" if mutation else f"--seed {seed}"
        sys.stdout.write(f"seed {seed}: {promise}\n    again: python -m tests.simulation {again}\n")


def _report(done: int, broken: list[tuple[int, str]], elapsed_s: float) -> int:
    seeds = ": " + ", ".join(str(seed) for seed, _ in sorted(broken)[:_MAX_SHOWN]) if broken else ""
    rate = done / elapsed_s
    sys.stdout.write(f"\n{done:,} schedules in {elapsed_s:.0f} s, {rate:.0f}/s: {len(broken)} broken{seeds}.\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
