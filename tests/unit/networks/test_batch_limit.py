"""Batches that become smaller when memory runs out, and larger again later."""

from poselift.networks.batch_limit import BatchLimit


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_limit_grows_back():
    clock = Clock()
    limit = BatchLimit(64, clock)
    assert limit.windows == 64
    assert limit.halve(64) == (32, 60)
    assert limit.halve(32) == (16, 60)
    clock.now_s = 59
    assert limit.windows == 16
    clock.now_s = 60
    assert limit.windows == 32
    assert limit.windows == 32
    clock.now_s = 120
    assert limit.windows == 64
    clock.now_s = 1e6
    assert limit.windows == 64


def test_memory_that_stays_short_is_tried_less_and_less_often():
    clock = Clock()
    limit = BatchLimit(8, clock)
    waits = []
    for _ in range(9):
        assert limit.windows == 8
        windows, wait_s = limit.halve(8)
        assert windows == 4
        waits.append(wait_s)
        clock.now_s += wait_s
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_limit_is_at_least_one_window():
    limit = BatchLimit(2, Clock())
    assert limit.halve(2) == (1, 60)
    assert limit.halve(1) == (1, 60)
