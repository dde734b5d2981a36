import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import EntryResult, Priority
from poselift_service.inference.slice import Slice

from tests.unit.service.inference.scripted_engine import ScriptedEngine, poses, sequence, settle

CAPACITY = 40
BATCH = 8
DEADLINE_S = 100.0
BULK: Any = {"priority": Priority.BULK, "deadline": DEADLINE_S}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watching:
    """Remembers what a queue has told it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int | str]] = []

    def batch_started(self, windows: int) -> None:
        self.told.append(("batch", windows))

    def batch_failed(self) -> None:
        self.told.append(("failed", 0))

    def windows_refused(self, windows: int) -> None:
        self.told.append(("refused", windows))

    def entry_finished(self, outcome: str) -> None:
        self.told.append(("entry", outcome))


class Queue:
    """A batcher with an engine and a clock moved by hand."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(BATCH)
        self.clock = Clock()
        self.observer = Watching()
        self.traced: list[tuple[float, float | None, float]] = []
        self.batcher = Batcher(
            self.engine,
            capacity_windows=CAPACITY,
            observer=self.observer,
            trace=lambda *moments: self.traced.append(moments),
            clock=self.clock,
        )

    async def call(
        self, *sequences: Slice, priority: Priority = Priority.BULK, deadline: float = DEADLINE_S
    ) -> asyncio.Task[EntryResult]:
        async def caller() -> EntryResult:
            windows = sum(len(one.index) for one in sequences)
            with self.batcher.admit(windows, priority=priority, deadline=deadline):
                return await self.batcher.lift(sequences, priority=priority, deadline=deadline)

        task = asyncio.create_task(caller())
        await settle()
        return task


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    queue = Queue()
    queue.batcher.start()
    yield queue
    await queue.batcher.stop()


async def test_an_idle_engine_gets_a_lone_caller_at_once(queue: Queue):
    task = await queue.call(sequence(1, 3))
    assert queue.engine.sizes == [[3]]
    await queue.engine.finish()
    np.testing.assert_array_equal(task.result().answers[0], poses(sequence(1, 3)))
    assert queue.batcher.windows_queued == 0


async def test_callers_that_come_while_the_engine_runs_share_the_next_batch(queue: Queue):
    tasks = [await queue.call(sequence(identity, 2)) for identity in range(4)]
    await queue.engine.finish()
    assert queue.engine.sizes == [[2], [2, 2, 2]]
    await queue.engine.finish()
    for identity, task in enumerate(tasks):
        np.testing.assert_array_equal(task.result().answers[0], poses(sequence(identity, 2)))


async def test_a_batch_is_never_larger_than_the_engine_takes(queue: Queue):
    tasks = [await queue.call(sequence(identity, 3)) for identity in range(7)]
    while queue.engine.is_running:
        await queue.engine.finish()
    assert all(sum(sizes) <= BATCH for sizes in queue.engine.sizes)
    assert all(task.done() for task in tasks)


async def test_a_long_sequence_is_cut_and_put_together_again(queue: Queue):
    task = await queue.call(sequence(1, 20), sequence(2, 5))
    while queue.engine.is_running:
        await queue.engine.finish()
    assert queue.engine.sizes == [[8], [8], [4, 4], [1]]
    first, second = task.result().answers
    np.testing.assert_array_equal(first, poses(sequence(1, 20)))
    np.testing.assert_array_equal(second, poses(sequence(2, 5)))


async def test_a_short_sequence_does_not_wait_for_a_long_one_that_came_first(queue: Queue):
    long = await queue.call(sequence(1, 30))
    short = await queue.call(sequence(2, 1))
    await queue.engine.finish()
    assert queue.engine.identities(1) == [2, 1]
    await queue.engine.finish()
    assert short.done()
    assert not long.done()


async def test_long_sequences_take_turns_by_whole_batches_and_short_ones_half_of_each(queue: Queue):
    for identity in (1, 2):
        await queue.call(sequence(identity, 17))
    for identity in (3, 4, 5):
        await queue.call(sequence(identity, 2))
    for _ in range(3):
        await queue.engine.finish()
    assert [queue.engine.identities(batch) for batch in range(4)] == [[1], [3, 4, 1], [5, 2], [1, 2]]
    assert queue.engine.sizes == [[8], [2, 2, 4], [2, 6], [5, 3]]


async def test_live_goes_before_bulk_and_bulk_fills_no_more_than_half_of_its_batch(queue: Queue):
    await queue.call(sequence(0, 1))
    await queue.call(sequence(1, 8))
    await queue.call(sequence(2, 1), priority=Priority.LIVE)
    await queue.engine.finish()
    assert queue.engine.identities(1) == [2, 1]
    assert queue.engine.sizes[1] == [1, 4]


async def test_live_frames_without_end_do_not_starve_bulk(queue: Queue):
    await queue.call(sequence(0, 1))
    await queue.call(sequence(1, 2))
    for identity in range(2, 22):
        await queue.call(sequence(identity, 1), priority=Priority.LIVE)
    await queue.engine.finish()
    assert queue.engine.identities(1) == [*range(2, 9), 1]


async def test_overload_is_refused_before_any_work_and_says_when_to_come_back(queue: Queue):
    await queue.call(sequence(1, CAPACITY - 1))
    with pytest.raises(Overloaded) as refusal, queue.batcher.admit(2, **BULK):
        pytest.fail("no permit was left")
    assert refusal.value.retry_after_s >= 1
    with queue.batcher.admit(1, **BULK):
        assert isinstance(queue.batcher.refusal(1, **BULK), Overloaded)
    assert queue.engine.sizes == [[8]]


async def test_a_permit_is_given_back_when_the_work_under_it_fails(queue: Queue):
    with pytest.raises(ValueError, match="preparing failed"), queue.batcher.admit(5, **BULK):
        raise ValueError("preparing failed")
    assert queue.batcher.windows_queued == 0


async def test_the_retry_hint_follows_the_measured_rate(queue: Queue):
    await queue.call(sequence(1, CAPACITY))
    queue.clock.now += 4  # eight windows in four seconds
    await queue.engine.finish()
    with pytest.raises(Overloaded) as refusal, queue.batcher.admit(1, **BULK):
        pytest.fail("no permit was left")
    assert refusal.value.retry_after_s == pytest.approx(CAPACITY / 2)


async def test_what_would_come_too_late_is_refused_at_once(queue: Queue):
    """Thirty windows wait, two are lifted in a second, and callers may count on 80 % of their time."""
    await queue.call(sequence(1, 38))
    queue.clock.now += 4
    await queue.engine.finish()

    def is_refused(windows: int, seconds: float, priority: Priority = Priority.BULK) -> bool:
        refusal = queue.batcher.refusal(windows, priority=priority, deadline=queue.clock.now + seconds)
        return isinstance(refusal, Overloaded)

    assert not is_refused(2, 25.1)
    assert is_refused(2, 24.9)
    assert not is_refused(2, 0.1, Priority.LIVE), "live frames do not wait for clips"


async def test_small_batches_do_not_tell_how_fast_the_engine_is(queue: Queue):
    await queue.call(sequence(1, 3))
    queue.clock.now += 1000
    await queue.engine.finish()
    await queue.call(sequence(2, 38))
    assert queue.batcher.refusal(1, priority=Priority.BULK, deadline=queue.clock.now + 1) is None


async def test_a_caller_who_leaves_while_waiting_is_dropped(queue: Queue):
    await queue.call(sequence(1, 8))
    gone = await queue.call(sequence(2, 8))
    staying = await queue.call(sequence(3, 8))
    gone.cancel()
    await settle()
    assert queue.batcher.windows_queued == 16
    await queue.engine.finish()
    assert queue.engine.identities(1) == [3]
    await queue.engine.finish()
    assert staying.done()
    assert gone.cancelled()


async def test_a_caller_who_leaves_in_a_running_batch_harms_nobody(queue: Queue):
    await queue.call(sequence(0, 1))
    gone = await queue.call(sequence(1, 2))
    staying = [await queue.call(sequence(2, 2)), await queue.call(sequence(3, 2))]
    await queue.engine.finish()
    gone.cancel()
    await settle()
    await queue.engine.finish()
    for identity, task in enumerate(staying, start=2):
        np.testing.assert_array_equal(task.result().answers[0], poses(sequence(identity, 2)))
    assert gone.cancelled()
    assert queue.batcher.windows_queued == 0


async def test_a_failing_engine_fails_its_batch_and_nothing_else(queue: Queue, caplog: pytest.LogCaptureFixture):
    failing = [await queue.call(sequence(1, 4))]
    later = await queue.call(sequence(2, 4))
    await queue.engine.fail(RuntimeError("device lost"))
    with pytest.raises(EngineFailed) as failure:
        failing[0].result()
    assert isinstance(failure.value.__cause__, RuntimeError)
    await queue.engine.finish()
    np.testing.assert_array_equal(later.result().answers[0], poses(sequence(2, 4)))
    assert "device lost" in caplog.text


async def test_an_engine_that_fails_in_the_middle_of_a_sequence_fails_all_of_it(queue: Queue):
    task = await queue.call(sequence(1, 20))
    await queue.engine.finish()
    await queue.engine.fail(MemoryError())
    with pytest.raises(EngineFailed):
        task.result()
    assert not queue.engine.is_running
    assert queue.batcher.windows_queued == 0


async def test_an_engine_that_mixes_up_its_answer_is_not_believed():
    class Forgetful(ScriptedEngine):
        async def lift(self, batch):
            return (await super().lift(batch))[1:]

    engine = Forgetful()
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    task = asyncio.create_task(batcher.lift([sequence(1, 2)], priority=Priority.BULK, deadline=float("inf")))
    await settle()
    await engine.finish()
    with pytest.raises(EngineFailed):
        task.result()
    await batcher.stop()


async def test_whoever_is_too_late_when_a_batch_is_formed_is_not_lifted(queue: Queue):
    await queue.call(sequence(1, 8))
    late = await queue.call(sequence(2, 1), deadline=5.0)
    on_time = await queue.call(sequence(3, 1), deadline=5.1)
    queue.clock.now = 5.0
    await queue.engine.finish()
    with pytest.raises(DeadlineExceeded):
        late.result()
    assert queue.engine.identities(1) == [3]
    await queue.engine.finish()
    on_time.result()


async def test_a_deadline_holds_even_while_the_engine_hangs():
    engine = ScriptedEngine()
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    soon = asyncio.get_running_loop().time() + 0.02
    with pytest.raises(DeadlineExceeded):
        await batcher.lift([sequence(1, 1)], priority=Priority.BULK, deadline=soon)
    assert engine.is_running
    await batcher.stop()


async def test_every_deadline_holds_in_whatever_order_they_came():
    engine = ScriptedEngine()
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    now = asyncio.get_running_loop().time()
    ended: list[int] = []

    async def wait(number: int, seconds: float) -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.lift([sequence(number, 1)], priority=Priority.BULK, deadline=now + seconds)
        ended.append(number)

    await asyncio.gather(*(wait(number, seconds) for number, seconds in enumerate((0.09, 0.03, 0.06, 0.03))))
    assert ended in ([1, 3, 2, 0], [3, 1, 2, 0])
    await batcher.stop()


async def test_draining_refuses_newcomers_and_finishes_whoever_is_in(queue: Queue):
    running = await queue.call(sequence(1, 8))
    waiting = await queue.call(sequence(2, 12))
    draining = asyncio.create_task(queue.batcher.drain())
    await settle()
    with pytest.raises(NotReady), queue.batcher.admit(1, **BULK):
        pytest.fail("a draining batcher let somebody in")
    while queue.engine.is_running:
        assert not draining.done()
        await queue.engine.finish()
    assert draining.done()
    assert running.done()
    np.testing.assert_array_equal(waiting.result().answers[0], poses(sequence(2, 12)))


async def test_nobody_is_admitted_before_the_start():
    with pytest.raises(NotReady), Batcher(ScriptedEngine(), capacity_windows=CAPACITY).admit(1, **BULK):
        pytest.fail("a batcher that does not run let somebody in")


async def test_stopping_tells_everybody_who_is_left(queue: Queue):
    running = await queue.call(sequence(1, 8))
    waiting = await queue.call(sequence(2, 8))
    await queue.batcher.stop()
    await settle()
    for task in (running, waiting):
        with pytest.raises(NotReady):
            task.result()
    assert queue.batcher.windows_queued == 0


async def test_the_stage_times_add_up(queue: Queue):
    await queue.call(sequence(1, 8))
    task = await queue.call(sequence(2, 16))
    for seconds in (3, 2, 1):
        queue.clock.now += seconds
        await queue.engine.finish()
    lifted = task.result()
    assert (lifted.queue_s, lifted.inference_s) == (3, 3)


async def test_an_observer_is_told_what_becomes_of_everybody(queue: Queue):
    running = await queue.call(sequence(1, 5))
    leaving = await queue.call(sequence(2, 1))
    late = await queue.call(sequence(3, 1), deadline=1.0)
    failing = await queue.call(sequence(4, 3))
    with pytest.raises(Overloaded), queue.batcher.admit(CAPACITY, **BULK):
        pytest.fail("there was no room")
    leaving.cancel()
    queue.clock.now = 2.0
    await queue.engine.finish()
    await queue.engine.fail(RuntimeError("broken"))
    await asyncio.wait({running, leaving, late, failing})
    assert queue.observer.told == [
        ("batch", 5),
        ("refused", CAPACITY),
        ("entry", "cancelled"),
        ("batch", 3),
        ("entry", "ok"),
        ("entry", "deadline_exceeded"),
        ("failed", 0),
        ("entry", "engine_failed"),
    ]
    assert (await asyncio.gather(failing, return_exceptions=True))[0].__class__ is EngineFailed


async def test_the_moments_of_every_entry_are_told(queue: Queue):
    running = await queue.call(sequence(1, BATCH + 1))
    queue.clock.now = 1.0
    leaving = await queue.call(sequence(2, 1))
    queue.clock.now = 2.0
    leaving.cancel()
    await queue.engine.finish()
    queue.clock.now = 5.0
    await queue.engine.finish()
    await asyncio.wait({running, leaving})
    # From the first of its batches to the last, and never when it had to go before.
    assert queue.traced == [(1.0, None, 2.0), (0.0, 0.0, 5.0)]
