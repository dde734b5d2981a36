"""The measurements at the start, with networks that only move the clock."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from service.network import Form
from service.warm_up import Trial

JOINTS, RECEPTIVE_FIELD = 17, 9
BATCH_S = 0.1


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class TimedNetwork:
    """Takes `seconds(windows)` for a pass, times whatever the machine is disturbed by."""

    sizes_per_doubling = None

    def __init__(self, clock: Clock, seconds: Callable[[int], float], *, most_windows: int = 4096) -> None:
        self.form = Form("torch", "cpu", "float32", 1)
        self.clock = clock
        self.seconds = seconds
        self.most_windows = most_windows
        self.passes: list[int] = []

    def disturbance(self) -> float:
        return 1.0

    def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(index) > self.most_windows:
            raise MemoryError
        self.passes.append(len(index))
        self.clock.now_s += self.seconds(len(index)) * self.disturbance()
        return np.zeros((len(index), JOINTS, 3), dtype=np.float32)


class DisturbedNetwork(TimedNetwork):
    """Two passes out of three take twenty times as long, the first ones at any size among them."""

    def disturbance(self) -> float:
        return 1.0 if self.passes.count(self.passes[-1]) % 3 == 0 else 20.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trial(clock: Clock) -> Trial:
    return Trial(JOINTS, RECEPTIVE_FIELD, holes=True, clock=clock)


def full_size(windows: int) -> float:
    """A network of the papers on two cores."""
    return 0.006 + 0.005 * windows


def scaled(share: float, windows: int) -> float:
    return share * full_size(windows)


@pytest.mark.parametrize("kind", [TimedNetwork, DisturbedNetwork])
def test_the_fastest_threads_are_found(trial: Trial, clock: Clock, kind: type[TimedNetwork]):
    networks = [kind(clock, partial(scaled, share)) for share in (1.0, 0.8, 0.9)]
    assert trial.fastest(networks) is networks[1]


@pytest.mark.parametrize("kind", [TimedNetwork, DisturbedNetwork])
@pytest.mark.parametrize(
    ("seconds", "batch_windows"),
    [
        (full_size, 16),  # 32 would take longer than a batch may
        (lambda windows: 0.002 * windows, 1),  # nothing is gained by waiting for others
        (lambda windows: 0.004, 1024),  # a GPU that is never full
        (lambda windows: 0.3 * windows, 1),  # far too slow, and serves all the same
        (lambda windows: 0.01 + 0.0001 * max(0, windows - 64), 512),
    ],
)
def test_batches_are_as_large_as_pays(
    trial: Trial, clock: Clock, kind: type[TimedNetwork], seconds: Callable[[int], float], batch_windows: int
):
    (pace,) = trial.paces([kind(clock, seconds)])
    assert pace.batch_windows == batch_windows
    assert pace.windows_per_s[1] == pytest.approx(1 / seconds(1))
    assert list(pace.windows_per_s) == [1 << power for power in range(batch_windows.bit_length())]


def test_batches_fit_the_memory(trial: Trial, clock: Clock):
    (pace,) = trial.paces([TimedNetwork(clock, lambda windows: 0.001, most_windows=10)])
    assert pace.batch_windows == 8


def test_a_network_that_does_not_fit_at_all_is_told(trial: Trial, clock: Clock):
    with pytest.raises(MemoryError):
        trial.paces([TimedNetwork(clock, lambda windows: 0.001, most_windows=0)])


def test_a_better_rate_alone_and_in_batches_scores_higher(trial: Trial, clock: Clock):
    slow, fast = trial.paces([TimedNetwork(clock, full_size), TimedNetwork(clock, partial(scaled, 0.5))])
    assert fast.score > slow.score


def test_measuring_two_networks_of_full_size_ends_in_time(trial: Trial, clock: Clock):
    networks = [TimedNetwork(clock, full_size) for _ in range(4)]
    trial.paces([trial.fastest(networks[:2]), trial.fastest(networks[2:])])
    assert clock.now_s < 10


def test_joints_are_missing_only_where_the_network_can_take_that(clock: Clock):
    seen: list[NDArray[np.float32]] = []

    class Looking(TimedNetwork):
        def lift(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
            seen.append(frames)
            return super().lift(frames, index)

    for holes in (False, True):
        Trial(JOINTS, RECEPTIVE_FIELD, holes=holes, clock=clock).poses(Looking(clock, full_size))
    assert [bool(np.isnan(frames).any()) for frames in seen] == [False, True]
