"""Random schedules of calls, cancellations, failures and delays: every caller gets one outcome, the right one."""

import asyncio
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import EntryResult, Priority

from tests.unit.service.inference.scripted_engine import ScriptedEngine, poses, sequence, settle

CAPACITY = 60
CLOCK_START_S = 1000.0


@dataclass(frozen=True)
class Arrive:
    windows: list[int]
    priority: Priority
    timeout_s: float


@dataclass(frozen=True)
class Cancel:
    caller: int


@dataclass(frozen=True)
class Finish:
    pass


@dataclass(frozen=True)
class Fail:
    pass


@dataclass(frozen=True)
class Wait:
    seconds: float


arrivals = st.builds(
    Arrive,
    windows=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    priority=st.sampled_from(Priority),
    timeout_s=st.floats(60, 600),
)
events = st.one_of(
    arrivals,
    arrivals,
    st.builds(Cancel, st.integers(0, 20)),
    st.just(Finish()),
    st.just(Finish()),
    st.just(Fail()),
    st.builds(Wait, st.floats(0, 200)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(events, max_size=40), st.integers(1, 16), st.booleans())
def test_every_caller_gets_exactly_one_outcome(schedule: list[object], batch_windows: int, drained: bool):
    asyncio.run(run_schedule(schedule, batch_windows, drained))


async def run_schedule(schedule: list[object], batch_windows: int, drained: bool) -> None:
    now_s = CLOCK_START_S
    engine = ScriptedEngine(batch_windows)
    batcher = Batcher(engine, capacity_windows=CAPACITY, clock=lambda: now_s)
    batcher.start()
    callers: list[asyncio.Task[EntryResult]] = []
    sent = []

    async def caller(identity: int, event: Arrive) -> EntryResult:
        sequences = [sequence(100 * identity + n, windows) for n, windows in enumerate(event.windows)]
        sent.append((identity, sequences))
        deadline = now_s + event.timeout_s
        with batcher.admit(sum(event.windows), priority=event.priority, deadline=deadline):
            return await batcher.lift(sequences, priority=event.priority, deadline=deadline)

    for event in schedule:
        match event:
            case Arrive():
                callers.append(asyncio.create_task(caller(len(callers), event)))
            case Cancel(number) if callers:
                callers[number % len(callers)].cancel()
            case Finish() if engine.is_running:
                await engine.finish()
            case Fail() if engine.is_running:
                await engine.fail(RuntimeError("scripted"))
            case Wait(seconds):
                now_s += seconds
        await settle()
        assert 0 <= batcher.windows_queued <= CAPACITY

    if drained:
        draining = asyncio.create_task(batcher.drain())
        await settle()
        while engine.is_running:
            await engine.finish()
        await settle()
        assert draining.done()
    await batcher.stop()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    sequences_of = dict(sent)
    for identity, outcome in enumerate(outcomes):
        if isinstance(outcome, EntryResult):
            for whole, joints in zip(sequences_of[identity], outcome.answers, strict=True):
                np.testing.assert_array_equal(joints, poses(whole))
            assert outcome.queue_s >= 0
        else:
            refusals = (asyncio.CancelledError, DeadlineExceeded, EngineFailed, Overloaded)
            assert isinstance(outcome, refusals if drained else (*refusals, NotReady))
    assert batcher.windows_queued == 0
    lifted = [
        (int(f[0]), int(f[1])) for batch in engine.batches for part in batch for f in part.frames[part.index[:, 0], 0]
    ]
    assert len(lifted) == len(set(lifted)), "a window was lifted twice"
