"""The choice of a network, with networks that only advance a simulated clock."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.networks.autotune import Benchmark, choose
from poselift.networks.network import Candidates, EngineUnavailable, Group, NetworkVariant
from poselift.networks.slice import Slice
from poselift.windows import plan_windows

JOINTS, RECEPTIVE_FIELD, STRIDE = 17, 9, 3
BATCH_S = 0.1


class Machine:
    """A simulated clock, and the CPU time used by this process."""

    now_s = processor_s = 0.0

    def benchmark(self, *, has_missing_joints: bool = True, poses_per_window: int = 1) -> Benchmark:
        return Benchmark(
            (JOINTS, 2),
            RECEPTIVE_FIELD,
            stride=STRIDE,
            has_missing_joints=has_missing_joints,
            poses_per_window=poses_per_window,
            clock=lambda: self.now_s,
            processor_clock=lambda: self.processor_s,
        )


class TimedNetwork:
    """Takes `seconds(windows)` of CPU time for a pass, and longer by the clock when the machine is disturbed."""

    def __init__(
        self,
        machine: Machine,
        seconds: Callable[[int], float],
        *,
        library: str = "torch",
        device: str = "cpu",
        precision: str = "float32",
        offset_m: float = 0.0,
        max_windows: int = 4096,
        sizes_per_doubling: int | None = None,
    ) -> None:
        self.variant = NetworkVariant(library, device, precision, 1)
        self.sizes_per_doubling = sizes_per_doubling
        self.offset_m = offset_m
        self.machine = machine
        self.seconds = seconds
        self.max_windows = max_windows
        self.passes: list[int] = []
        self.is_closed = False

    def disturbance(self) -> float:
        return 1.0

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        if len(index) > self.max_windows:
            raise MemoryError
        self.passes.append(len(index))
        self.machine.processor_s += self.seconds(len(index)) * self.variant.threads
        self.machine.now_s += self.seconds(len(index)) * self.disturbance()
        return np.full((len(index), JOINTS, 3), self.offset_m, dtype=np.float32)

    def close(self) -> None:
        self.is_closed = True

    def renewed(self) -> "TimedNetwork":
        return self


class GpuNetwork(TimedNetwork):
    """Two of three passes take twenty times as long, including the first ones at each size."""

    def __init__(self, machine: Machine, seconds: Callable[[int], float]) -> None:
        super().__init__(machine, seconds, device="cuda")

    def disturbance(self) -> float:
        return 1.0 if self.passes.count(self.passes[-1]) % 3 == 0 else 20.0


class BusyCpuNetwork(TimedNetwork):
    """Other processes take two thirds of the CPU all the time."""

    def disturbance(self) -> float:
        return 3.0


class BrieflyDisturbedNetwork(TimedNetwork):
    """Other processes take two thirds of the CPU at the beginning."""

    def disturbance(self) -> float:
        return 3.0 if self.machine.now_s < 0.15 else 1.0


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def benchmark(machine: Machine) -> Benchmark:
    return machine.benchmark()


def full_size(windows: int) -> float:
    """Duration of a pass of a network of a paper's size on two cores."""
    return 0.006 + 0.005 * windows


def scaled(factor: float, windows: int) -> float:
    return factor * full_size(windows)


@pytest.mark.parametrize("kind", [TimedNetwork, GpuNetwork, BusyCpuNetwork])
def test_the_fastest_number_of_threads_is_found(benchmark: Benchmark, machine: Machine, kind: type[TimedNetwork]):
    networks = [kind(machine, partial(scaled, share)) for share in (1.0, 0.8, 0.9)]
    assert benchmark.fastest(networks) is networks[1]


def test_a_short_disturbance_does_not_affect_the_number_of_threads(benchmark: Benchmark, machine: Machine):
    one, two = (BrieflyDisturbedNetwork(machine, partial(scaled, share)) for share in (0.2, 0.15))
    two.variant = replace(two.variant, threads=2)
    assert benchmark.fastest([one, two]) is two


@pytest.mark.parametrize("kind", [TimedNetwork, GpuNetwork, BusyCpuNetwork])
@pytest.mark.parametrize(
    ("seconds", "batch_windows"),
    [
        (full_size, 8),  # twice as many would hardly be faster
        (lambda windows: 0.02 + 0.002 * windows, 32),  # 64 would exceed the duration of a batch
        (lambda windows: 0.002 * windows, 1),  # batching gains nothing
        (lambda windows: 0.004, 1024),  # a GPU that is never saturated
        (lambda windows: 0.3 * windows, 1),  # too slow, but serves all the same
        (lambda windows: 0.01 + 0.0001 * max(0, windows - 64), 256),
    ],
)
def test_batches_grow_while_the_rate_improves(
    benchmark: Benchmark,
    machine: Machine,
    kind: type[TimedNetwork],
    seconds: Callable[[int], float],
    batch_windows: int,
):
    (throughput,) = benchmark.measure([kind(machine, seconds)])
    assert throughput.batch_windows == batch_windows
    assert throughput.windows_per_s[1] == pytest.approx(1 / seconds(1))
    assert list(throughput.windows_per_s) == [1 << power for power in range(batch_windows.bit_length())]


def test_batches_fit_into_memory(benchmark: Benchmark, machine: Machine):
    (throughput,) = benchmark.measure([TimedNetwork(machine, lambda windows: 0.001, max_windows=10)])
    assert throughput.batch_windows == 8


def test_a_network_that_does_not_fit_at_all_raises(benchmark: Benchmark, machine: Machine):
    with pytest.raises(MemoryError):
        benchmark.measure([TimedNetwork(machine, lambda windows: 0.001, max_windows=0)])


def test_a_better_rate_at_every_size_scores_higher(benchmark: Benchmark, machine: Machine):
    slow, fast = benchmark.measure([TimedNetwork(machine, full_size), TimedNetwork(machine, partial(scaled, 0.5))])
    assert fast.score > slow.score


def test_measuring_two_networks_of_full_size_ends_in_time(benchmark: Benchmark, machine: Machine):
    networks = [TimedNetwork(machine, full_size) for _ in range(4)]
    benchmark.measure([benchmark.fastest(networks[:2]), benchmark.fastest(networks[2:])])
    assert machine.now_s < 10


def candidates(reference: TimedNetwork, *groups: tuple[TimedNetwork, float]) -> Candidates:
    return Candidates(reference, [Group([network], tolerance_m) for network, tolerance_m in groups])


def test_the_faster_network_is_chosen(benchmark: Benchmark, machine: Machine):
    slow = TimedNetwork(machine, full_size)
    fast = TimedNetwork(machine, partial(scaled, 0.5), library="openvino", offset_m=9e-5)
    choice = choose(candidates(slow, (slow, 1e-4), (fast, 1e-4)), benchmark)
    assert choice.network is fast
    assert choice.difference_m == {"torch float32": 0, "openvino float32": pytest.approx(9e-5)}
    assert choice.windows_per_s.keys() == choice.difference_m.keys()
    assert choose(candidates(slow, (slow, 1e-4)), benchmark).network is slow


@pytest.mark.parametrize(("tolerance_m", "is_chosen"), [(5e-3, True), (3e-3, False)])
def test_a_lower_precision_is_used_if_its_poses_are_close_enough(
    benchmark: Benchmark, machine: Machine, tolerance_m: float, is_chosen: bool
):
    exact = TimedNetwork(machine, full_size)
    fast = TimedNetwork(machine, partial(scaled, 0.5), precision="bfloat16", offset_m=4e-3)
    choice = choose(candidates(exact, (exact, 1e-4), (fast, tolerance_m)), benchmark)
    assert choice.network is (fast if is_chosen else exact)
    assert choice.difference_m["torch bfloat16"] == pytest.approx(4e-3)


class SeenPeopleNetwork(TimedNetwork):
    """Like a graph that ignores its input: right for what it was recorded with, wrong for everybody else."""

    def __init__(self, machine: Machine, seconds: Callable[[int], float]) -> None:
        super().__init__(machine, seconds, device="cuda")
        self.seen: dict[int, float] = {}

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        person = float(np.nanmean(frames[0]))
        if self.seen.setdefault(len(index), person) != person:
            return super().lift(frames, index) + 1
        return super().lift(frames, index)


def test_a_recorded_network_that_is_faster_and_wrong_is_refused(
    benchmark: Benchmark, machine: Machine, caplog: pytest.LogCaptureFixture
):
    right = TimedNetwork(machine, full_size, device="cuda")
    wrong = SeenPeopleNetwork(machine, partial(scaled, 0.5))
    choice = choose(Candidates(right, [Group([right, wrong], 1e-4)]), benchmark)
    assert choice.network is right
    assert choice.difference_m["torch float32"] == pytest.approx(1)
    assert "its poses are up to 1 m from those of torch float32" in caplog.text
    assert right.is_closed
    assert wrong.is_closed


class FalseOnceRenewed(TimedNetwork):
    def renewed(self) -> "TimedNetwork":
        return TimedNetwork(self.machine, self.seconds, precision="tf32", offset_m=0.1)


def test_the_next_best_serves_if_the_best_is_wrong_as_it_will_be_used(benchmark: Benchmark, machine: Machine):
    exact = TimedNetwork(machine, full_size)
    fast = FalseOnceRenewed(machine, partial(scaled, 0.5), precision="tf32")
    choice = choose(candidates(exact, (exact, 1e-4), (fast, 1e-3)), benchmark)
    assert choice.network is exact
    with pytest.raises(EngineUnavailable, match="torch tf32"):
        choose(candidates(exact, (fast, 1e-3)), benchmark)


class BatchDependentNetwork(TimedNetwork):
    """Poses depend on the batch size, as in bfloat16."""

    def lift(
        self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        return super().lift(frames, index) + np.float32(2e-4 if len(index) > 1 else 0)


def test_poses_must_not_depend_on_the_size_of_the_batch(
    benchmark: Benchmark, machine: Machine, caplog: pytest.LogCaptureFixture
):
    exact = TimedNetwork(machine, full_size)
    fast = BatchDependentNetwork(machine, partial(scaled, 0.5), precision="tf32")
    with caplog.at_level("INFO"):
        assert choose(candidates(exact, (exact, 1e-4), (fast, 1e-3)), benchmark).network is exact
    assert "torch tf32 is not used: its poses depend on the size of the batch by up to 0.0002 m" in caplog.text
    requested = Group([fast], float("inf"), float("inf"))
    assert choose(Candidates(exact, [requested]), benchmark).network is fast


def test_few_windows_of_the_reference_suffice(benchmark: Benchmark, machine: Machine):
    exact, network = (TimedNetwork(machine, full_size, device=device) for device in ("cpu", "cuda"))
    choose(Candidates(exact, [Group([network], 1e-4)], reference_windows=2), benchmark)
    assert set(exact.passes) == {2}
    assert set(network.passes) == {1, 2, 4, 8, 16}


def test_a_size_that_does_not_fit_is_tried_once(benchmark: Benchmark, machine: Machine):
    tried: list[int] = []

    class Counting(TimedNetwork):
        def lift(
            self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
        ) -> NDArray[np.float32]:
            tried.append(len(index))
            return super().lift(frames, index)

    benchmark.measure([Counting(machine, lambda windows: 0.001, max_windows=10)])
    assert tried.count(16) == 1


def test_recorded_graphs_are_preferred_on_a_tie(benchmark: Benchmark, machine: Machine):
    eager, recorded = (TimedNetwork(machine, partial(scaled, share), device="cuda") for share in (1.0, 1.02))
    recorded.variant = replace(recorded.variant, cuda_graphs=True)
    assert benchmark.fastest([eager, recorded]) is recorded


def test_a_requested_precision_is_refused_if_its_poses_are_nan(benchmark: Benchmark, machine: Machine):
    exact = TimedNetwork(machine, full_size)
    broken = TimedNetwork(machine, full_size, precision="float16", offset_m=float("nan"))
    with pytest.raises(EngineUnavailable, match="torch float16"):
        choose(candidates(exact, (broken, float("inf"))), benchmark)


def test_a_network_with_fixed_sizes_is_warmed_at_every_size(benchmark: Benchmark, machine: Machine):
    network = TimedNetwork(machine, full_size, sizes_per_doubling=2)
    assert choose(candidates(network, (network, 1e-4)), benchmark).batch_windows == 8
    assert set(network.passes) == {1, 2, 3, 4, 6, 8, 16}


def test_networks_that_answer_whole_windows_are_measured_in_time(machine: Machine):
    """Such a window takes about a second on two cores for a paper's network, and holds many poses to compare."""
    one, other = (TimedNetwork(machine, lambda windows: 0.8 * windows, library=name) for name in ("torch", "openvino"))
    choice = choose(candidates(one, (one, 1e-4), (other, 1e-4)), machine.benchmark(poses_per_window=81))
    assert choice.batch_windows == 1
    assert machine.now_s < 20


def test_joints_are_missing_only_if_the_network_accepts_that(machine: Machine):
    seen: dict[bool, NDArray[np.float32]] = {}

    class Capturing(TimedNetwork):
        def lift(
            self, frames: NDArray[np.float32], index: NDArray[np.int64], ahead: NDArray[np.int64] | None = None
        ) -> NDArray[np.float32]:
            seen[has_missing_joints] = frames
            return super().lift(frames, index)

    for has_missing_joints in (False, True):
        machine.benchmark(has_missing_joints=has_missing_joints).poses(Capturing(machine, full_size), 4, 0)
    assert {has_missing_joints: bool(np.isnan(frames).any()) for has_missing_joints, frames in seen.items()} == {
        False: False,
        True: True,
    }


@pytest.mark.parametrize("windows", [1, 2, 16])
def test_example_windows_use_as_many_frames_as_a_slice_of_a_clip(benchmark: Benchmark, windows: int):
    clip = plan_windows(np.arange(200) / 50, 50, STRIDE, RECEPTIVE_FIELD)
    real = Slice(np.zeros((200, JOINTS, 2), np.float32)[clip.lower], clip.index).part(80, 80 + windows)
    frames, index = benchmark.windows(windows)
    assert frames.shape == real.frames.shape
    np.testing.assert_array_equal(index, real.index)


def test_windows_of_a_small_batch_are_the_first_ones_of_a_large_batch(benchmark: Benchmark):
    (small, few), (large, many) = (benchmark.windows(windows, 3) for windows in (2, 16))
    np.testing.assert_array_equal(small[few], large[many[:2]])


def test_an_artifact_is_measured_with_windows_of_its_stride():
    strided = Manifest(
        name="strided",
        system="pstmo",
        network={"frames": RECEPTIVE_FIELD},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=STRIDE,
        missing_joints="token",
    )
    _, index = Benchmark.of(strided).windows(STRIDE + 1)
    np.testing.assert_array_equal(index[STRIDE][:-1], index[0][1:])


class BlindOnceRenewed(TimedNetwork):
    def renewed(self) -> "TimedNetwork":
        network = SeenPeopleNetwork(self.machine, self.seconds)
        network.sizes_per_doubling = 2  # as if it records each size when it is warmed
        return network


def test_the_last_check_is_of_a_person_that_no_recording_has_seen(benchmark: Benchmark, machine: Machine):
    exact = TimedNetwork(machine, full_size)
    fast = BlindOnceRenewed(machine, partial(scaled, 0.5), device="cuda")
    assert choose(candidates(exact, (exact, 1e-4), (fast, 1e-3)), benchmark).network is exact
