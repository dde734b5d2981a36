"""Schedules of one batcher: callers of all sizes come, leave and run out of time while its engine fails."""

import asyncio
import random

import numpy as np
from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded
from poselift_service.inference.queue import Priority

from poselift.networks.slice import Slice
from tests.simulation.engine import EngineFaults, SimulatedEngine
from tests.simulation.trail import Trail
from tests.simulation.violation import require
from tests.simulation.virtual_time import current_loop
from tests.simulation.watched_batcher import WatchedBatcher

_REACH = 1
_PRIORITIES = tuple(Priority)
_EXPECTED = (DeadlineExceeded, EngineFailed, NotReady, Overloaded)


async def run_batches(rng: random.Random, trail: Trail) -> None:
    """Run one schedule. Raises Violation."""
    loop = current_loop()
    faults = EngineFaults(
        delay_s=rng.choice((0.0, 0.1, 1.0)),
        fail=rng.choice((0.0, 0.0, 0.2)),
        swap=rng.choice((0.0, 0.0, 0.2)),
        shrink=rng.choice((0.0, 0.0, 0.2)),
    )
    engine = SimulatedEngine(1, rng.randint(1, 12), faults, rng)
    batcher = WatchedBatcher(engine, rng.randint(10, 60), loop)
    batcher.start()
    impatience, longest_s = rng.choice((0.0, 0.0, 0.4)), rng.choice((0.5, 5.0, 50.0))
    callers = []
    for number in range(rng.randint(2, 12)):
        callers.append(asyncio.ensure_future(_call(batcher, number, longest_s * rng.random(), rng, trail)))
        if rng.random() < impatience:
            loop.call_later(rng.random(), callers[-1].cancel)
        if rng.random() < 0.5:
            await asyncio.sleep(0.3 * rng.random())
    await _end(batcher, rng)
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    batcher.check_rest()
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome


async def _end(batcher: WatchedBatcher, rng: random.Random) -> None:
    """Stop the batcher: at once, after it was drained, or while it drains."""
    way = rng.randrange(3)
    draining = asyncio.ensure_future(batcher.drain()) if way else None
    if draining is not None:
        await asyncio.wait([draining], timeout=None if way == 1 else 0.2 * rng.random())
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        if way == 1:
            draining.result()
    await batcher.stop()


async def _call(batcher: WatchedBatcher, number: int, timeout_s: float, rng: random.Random, trail: Trail) -> None:
    """One caller: it checks that its poses are those of its windows."""
    sizes = [rng.choice((1, 1, 2, 7, 20)) for _ in range(rng.choice((1, 1, 1, 3)))]
    sequences = [_sequence(100 * number + position, size) for position, size in enumerate(sizes)]
    priority, deadline = rng.choice(_PRIORITIES), asyncio.get_running_loop().time() + timeout_s
    trail.note("caller", number, sizes, priority.name, deadline)
    try:
        with batcher.admit(sum(sizes), priority=priority, deadline=deadline):
            result = await batcher.lift(sequences, priority=priority, deadline=deadline)
    except _EXPECTED as error:
        trail.note("caller", number, error.code)
        return
    trail.note("caller", number, "ok", result.queue_s, result.inference_s)
    for sequence, answer in zip(sequences, result.answers, strict=True):
        seen = sequence.frames[sequence.index, :2, 0]
        require((answer[:, : seen.shape[1], :2] == seen).all(), "a caller got poses of other windows", number)


def _sequence(identity: int, windows: int) -> Slice:
    """Windows that overlap, over frames that no other sequence has."""
    frames = np.zeros((windows + 2 * _REACH, 2, 2), np.float32)
    frames[:, :, 0] = np.arange(len(frames))[:, None] + 1000 * identity
    return Slice(frames, np.arange(windows)[:, None] + np.arange(2 * _REACH + 1))
