"""Which entries the next batch is formed of."""

import numpy as np
import pytest
from poselift_service.errors import DeadlineExceeded
from poselift_service.inference.queue import Priority

from tests.unit.service.inference.conftest import BATCH, DrivenBatcher
from tests.unit.service.inference.scripted_engine import poses, sequence


async def test_callers_that_arrive_while_the_engine_runs_share_the_next_batch(driven: DrivenBatcher):
    tasks = [await driven.call(sequence(identity, 2)) for identity in range(4)]
    await driven.engine.finish()
    assert driven.engine.sizes == [[2], [2, 2, 2]]
    await driven.engine.finish()
    for identity, task in enumerate(tasks):
        np.testing.assert_array_equal(task.result().answers[0], poses(sequence(identity, 2)))


async def test_a_batch_is_never_larger_than_the_engine_takes(driven: DrivenBatcher):
    tasks = [await driven.call(sequence(identity, 3)) for identity in range(7)]
    while driven.engine.is_running:
        await driven.engine.finish()
    assert all(sum(sizes) <= BATCH for sizes in driven.engine.sizes)
    assert all(task.done() for task in tasks)


async def test_a_long_sequence_is_cut_and_its_answers_are_joined(driven: DrivenBatcher):
    task = await driven.call(sequence(1, 20), sequence(2, 5))
    while driven.engine.is_running:
        await driven.engine.finish()
    assert driven.engine.sizes == [[8], [8], [4, 4], [1]]
    first, second = task.result().answers
    np.testing.assert_array_equal(first, poses(sequence(1, 20)))
    np.testing.assert_array_equal(second, poses(sequence(2, 5)))


async def test_a_short_sequence_does_not_wait_for_a_long_one_ahead_of_it(driven: DrivenBatcher):
    long = await driven.call(sequence(1, 30))
    short = await driven.call(sequence(2, 1))
    await driven.engine.finish()
    assert driven.engine.identities(1) == [2, 1]
    await driven.engine.finish()
    assert short.done()
    assert not long.done()


async def test_long_sequences_take_turns_by_whole_batches_and_short_ones_share_half_of_each(driven: DrivenBatcher):
    for identity in (1, 2):
        await driven.call(sequence(identity, 17))
    for identity in (3, 4, 5):
        await driven.call(sequence(identity, 2))
    for _ in range(3):
        await driven.engine.finish()
    assert [driven.engine.identities(batch) for batch in range(4)] == [[1], [3, 4, 1], [5, 2], [1, 2]]
    assert driven.engine.sizes == [[8], [2, 2, 4], [2, 6], [5, 3]]


async def test_live_goes_before_bulk_and_bulk_fills_at_most_half_of_its_batch(driven: DrivenBatcher):
    await driven.call(sequence(0, 1))
    await driven.call(sequence(1, 8))
    await driven.call(sequence(2, 1), priority=Priority.LIVE)
    await driven.engine.finish()
    assert driven.engine.identities(1) == [2, 1]
    assert driven.engine.sizes[1] == [1, 4]


async def test_any_number_of_live_frames_does_not_starve_bulk(driven: DrivenBatcher):
    await driven.call(sequence(0, 1))
    await driven.call(sequence(1, 2))
    for identity in range(2, 22):
        await driven.call(sequence(identity, 1), priority=Priority.LIVE)
    await driven.engine.finish()
    assert driven.engine.identities(1) == [*range(2, 9), 1]


async def test_entries_past_their_deadline_are_not_lifted(driven: DrivenBatcher):
    await driven.call(sequence(1, 8))
    late = await driven.call(sequence(2, 1), deadline=5.0)
    on_time = await driven.call(sequence(3, 1), deadline=5.1)
    driven.clock.now = 5.0
    await driven.engine.finish()
    with pytest.raises(DeadlineExceeded):
        late.result()
    assert driven.engine.identities(1) == [3]
    await driven.engine.finish()
    on_time.result()
