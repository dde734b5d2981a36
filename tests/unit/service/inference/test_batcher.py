import asyncio
from typing import Any

import numpy as np
import pytest
from poselift_service.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import Priority

from poselift.networks.network import DeviceLost
from tests.unit.service.inference.conftest import BATCH, CAPACITY, DEADLINE_S, DrivenBatcher
from tests.unit.service.inference.scripted_engine import ScriptedEngine, poses, sequence, settle

BULK: Any = {"priority": Priority.BULK, "deadline": DEADLINE_S}


async def test_an_idle_engine_runs_a_single_caller_at_once(driven: DrivenBatcher):
    task = await driven.call(sequence(1, 3))
    assert driven.engine.sizes == [[3]]
    await driven.engine.finish()
    np.testing.assert_array_equal(task.result().answers[0], poses(sequence(1, 3)))
    assert driven.batcher.windows_queued == 0


async def test_a_caller_cancelled_while_waiting_is_dropped(driven: DrivenBatcher):
    await driven.call(sequence(1, 8))
    cancelled = await driven.call(sequence(2, 8))
    remaining = await driven.call(sequence(3, 8))
    cancelled.cancel()
    await settle()
    assert driven.batcher.windows_queued == 16
    await driven.engine.finish()
    assert driven.engine.identities(1) == [3]
    await driven.engine.finish()
    assert remaining.done()
    assert cancelled.cancelled()


async def test_a_caller_cancelled_in_a_running_batch_does_not_affect_others(driven: DrivenBatcher):
    await driven.call(sequence(0, 1))
    cancelled = await driven.call(sequence(1, 2))
    remaining = [await driven.call(sequence(2, 2)), await driven.call(sequence(3, 2))]
    await driven.engine.finish()
    cancelled.cancel()
    await settle()
    await driven.engine.finish()
    for identity, task in enumerate(remaining, start=2):
        np.testing.assert_array_equal(task.result().answers[0], poses(sequence(identity, 2)))
    assert cancelled.cancelled()
    assert driven.batcher.windows_queued == 0


async def test_a_failing_engine_fails_its_batch_and_nothing_else(
    driven: DrivenBatcher, caplog: pytest.LogCaptureFixture
):
    failing = [await driven.call(sequence(1, 4))]
    later = await driven.call(sequence(2, 4))
    await driven.engine.fail(RuntimeError("device lost"))
    with pytest.raises(EngineFailed) as failure:
        failing[0].result()
    assert isinstance(failure.value.__cause__, RuntimeError)
    await driven.engine.finish()
    np.testing.assert_array_equal(later.result().answers[0], poses(sequence(2, 4)))
    assert "device lost" in caplog.text


async def test_a_lost_device_is_reported(driven: DrivenBatcher):
    failing = await driven.call(sequence(1, 4))
    await driven.engine.fail(RuntimeError("one bad batch"))
    assert failing.done()
    assert driven.devices_lost == 0
    failing = await driven.call(sequence(1, 4))
    await driven.engine.fail(DeviceLost("The GPU no longer works"))
    assert isinstance(failing.exception(), EngineFailed)
    assert driven.devices_lost == 1


async def test_a_failure_in_the_middle_of_a_sequence_fails_all_of_it(driven: DrivenBatcher):
    task = await driven.call(sequence(1, 20))
    await driven.engine.finish()
    await driven.engine.fail(MemoryError())
    with pytest.raises(EngineFailed):
        task.result()
    assert not driven.engine.is_running
    assert driven.batcher.windows_queued == 0


async def test_answers_that_do_not_match_the_batch_are_a_failure():
    class Incomplete(ScriptedEngine):
        async def lift(self, batch):
            return (await super().lift(batch))[1:]

    engine = Incomplete()
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    task = asyncio.create_task(batcher.lift([sequence(1, 2)], priority=Priority.BULK, deadline=float("inf")))
    await settle()
    await engine.finish()
    with pytest.raises(EngineFailed):
        task.result()
    await batcher.stop()


async def test_a_deadline_holds_even_while_the_engine_hangs():
    engine = ScriptedEngine()
    batcher = Batcher(engine, capacity_windows=CAPACITY)
    batcher.start()
    soon = asyncio.get_running_loop().time() + 0.02
    with pytest.raises(DeadlineExceeded):
        await batcher.lift([sequence(1, 1)], priority=Priority.BULK, deadline=soon)
    assert engine.is_running
    await batcher.stop()


async def test_every_deadline_holds_in_whatever_order_entries_arrive():
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


async def test_stopping_fails_all_remaining_entries(driven: DrivenBatcher):
    running = await driven.call(sequence(1, 8))
    waiting = await driven.call(sequence(2, 8))
    await driven.batcher.stop()
    await settle()
    for task in (running, waiting):
        with pytest.raises(NotReady):
            task.result()
    assert driven.batcher.windows_queued == 0


async def test_the_stage_times_add_up(driven: DrivenBatcher):
    await driven.call(sequence(1, 8))
    task = await driven.call(sequence(2, 16))
    for seconds in (3, 2, 1):
        driven.clock.now += seconds
        await driven.engine.finish()
    lifted = task.result()
    assert (lifted.queue_s, lifted.inference_s) == (3, 3)


async def test_the_observer_sees_every_batch_and_entry(driven: DrivenBatcher):
    running = await driven.call(sequence(1, 5))
    cancelled = await driven.call(sequence(2, 1))
    late = await driven.call(sequence(3, 1), deadline=1.0)
    failing = await driven.call(sequence(4, 3))
    with pytest.raises(Overloaded), driven.batcher.admit(CAPACITY, **BULK):
        pytest.fail("there was no room")
    cancelled.cancel()
    driven.clock.now = 2.0
    await driven.engine.finish()
    await driven.engine.fail(RuntimeError("broken"))
    await asyncio.wait({running, cancelled, late, failing})
    assert driven.observer.events == [
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


async def test_the_times_of_every_entry_are_traced(driven: DrivenBatcher):
    running = await driven.call(sequence(1, BATCH + 1))
    driven.clock.now = 1.0
    cancelled = await driven.call(sequence(2, 1))
    driven.clock.now = 2.0
    cancelled.cancel()
    await driven.engine.finish()
    driven.clock.now = 5.0
    await driven.engine.finish()
    await asyncio.wait({running, cancelled})
    # From its first batch to its last; None for the one that was cancelled before it ran.
    assert driven.traced == [(1.0, None, 2.0), (0.0, 0.0, 5.0)]
