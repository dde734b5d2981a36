"""Which callers get a permit, and when the others are told to come back."""

import asyncio
from typing import Any

import numpy as np
import pytest
from poselift_service.errors import NotReady, Overloaded
from poselift_service.inference.admission import Admission
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import Priority

from tests.unit.service.inference.conftest import BATCH, CAPACITY, DEADLINE_S, DrivenBatcher
from tests.unit.service.inference.scripted_engine import ScriptedEngine, poses, sequence, settle

BULK: Any = {"priority": Priority.BULK, "deadline": DEADLINE_S}


def retry_hint_s(batcher: Batcher) -> float:
    """The retry hint of a refusal by a batcher whose permits are all taken."""
    with pytest.raises(Overloaded) as refusal, batcher.admit(1, **BULK):
        pytest.fail("a permit was left")
    return refusal.value.retry_after_s


async def test_overload_is_refused_before_any_work_with_a_retry_hint(driven: DrivenBatcher):
    await driven.call(sequence(1, CAPACITY - 1))
    with pytest.raises(Overloaded) as refusal, driven.batcher.admit(2, **BULK):
        pytest.fail("no permit was left")
    assert refusal.value.retry_after_s >= 1
    with driven.batcher.admit(1, **BULK):
        assert isinstance(driven.batcher.refusal(1, **BULK), Overloaded)
    assert driven.engine.sizes == [[8]]


def test_short_requests_find_room_where_long_clips_fill_the_queue():
    admission = Admission(1000, lambda: 0.0)
    admission.is_open = True
    admission.take(1000, Priority.BULK)
    assert isinstance(admission.refusal(11, **BULK), Overloaded)
    for _ in range(10):
        for priority in Priority:
            assert admission.refusal(10, priority=priority, deadline=DEADLINE_S) is None
        admission.take(10, Priority.LIVE)
    assert isinstance(admission.refusal(1, **BULK), Overloaded)


def test_short_requests_do_not_wait_for_the_end_of_long_clips():
    admission = Admission(1000, lambda: 0.0)
    admission.is_open = True
    admission.update_rate(100, 1.0)
    admission.take(800, Priority.BULK)
    assert isinstance(admission.refusal(11, priority=Priority.BULK, deadline=10.0), Overloaded)
    assert admission.refusal(10, priority=Priority.BULK, deadline=10.0) is None
    for _ in range(10):
        admission.take(10, Priority.BULK)
    assert admission.refusal(10, priority=Priority.BULK, deadline=1.0) is not None
    assert admission.refusal(10, priority=Priority.LIVE, deadline=1.0) is None


async def test_a_permit_is_returned_when_the_work_under_it_fails(driven: DrivenBatcher):
    with pytest.raises(ValueError, match="preparing failed"), driven.batcher.admit(5, **BULK):
        raise ValueError("preparing failed")
    assert driven.batcher.windows_queued == 0


async def test_the_retry_hint_follows_the_measured_rate(driven: DrivenBatcher):
    await driven.call(sequence(1, CAPACITY))
    driven.clock.now += 4  # eight windows in four seconds
    await driven.engine.finish()
    assert retry_hint_s(driven.batcher) == pytest.approx(CAPACITY / 2)


async def test_the_rate_is_a_moving_average_of_all_batches(driven: DrivenBatcher):
    await driven.call(sequence(1, CAPACITY))
    windows_per_s = None
    for seconds in (4, 1, 16):
        driven.clock.now += seconds
        await driven.engine.finish()
        rate = BATCH / seconds
        windows_per_s = rate if windows_per_s is None else 0.8 * windows_per_s + 0.2 * rate
        assert retry_hint_s(driven.batcher) == pytest.approx(CAPACITY / windows_per_s)


async def test_work_that_would_be_late_is_refused_at_once(driven: DrivenBatcher):
    """38 windows hold permits, the engine lifts two per second, and work may take 80 % of the time to a deadline."""
    await driven.call(sequence(1, 38))
    driven.clock.now += 4
    await driven.engine.finish()

    def is_refused(windows: int, seconds: float, priority: Priority = Priority.BULK) -> bool:
        refusal = driven.batcher.refusal(windows, priority=priority, deadline=driven.clock.now + seconds)
        return isinstance(refusal, Overloaded)

    assert not is_refused(2, 25.1)
    assert is_refused(2, 24.9)
    assert not is_refused(2, 0.1, Priority.LIVE), "live frames do not wait for clips"


async def test_only_batches_that_are_at_least_half_full_change_the_rate(driven: DrivenBatcher):
    await driven.call(sequence(1, BATCH // 2 - 1))
    driven.clock.now += 50
    await driven.engine.finish()
    waiting = await driven.call(sequence(2, BATCH // 2))
    assert driven.batcher.windows_queued == BATCH // 2
    soon = driven.clock.now + 1
    assert driven.batcher.refusal(1, priority=Priority.BULK, deadline=soon) is None, "the first batch has set a rate"
    driven.clock.now += 2
    await driven.engine.finish()
    assert waiting.done()
    await driven.call(sequence(3, CAPACITY))
    assert retry_hint_s(driven.batcher) == pytest.approx(CAPACITY / 2)


async def test_draining_refuses_new_callers_and_finishes_admitted_ones(driven: DrivenBatcher):
    running = await driven.call(sequence(1, 8))
    waiting = await driven.call(sequence(2, 12))
    draining = asyncio.create_task(driven.batcher.drain())
    await settle()
    with pytest.raises(NotReady), driven.batcher.admit(1, **BULK):
        pytest.fail("a draining batcher admitted a caller")
    while driven.engine.is_running:
        assert not draining.done()
        await driven.engine.finish()
    assert draining.done()
    assert running.done()
    np.testing.assert_array_equal(waiting.result().answers[0], poses(sequence(2, 12)))


async def test_nobody_is_admitted_before_the_start():
    with pytest.raises(NotReady), Batcher(ScriptedEngine(), capacity_windows=CAPACITY).admit(1, **BULK):
        pytest.fail("a batcher that is not running admitted a caller")
