"""Chooses by measurement which candidate network to serve with, and how many windows a batch may hold.

Other work on the machine can only make a pass slower. So networks are compared by their fastest pass, and take turns,
round after round. On the CPU, the time of a pass is at most the CPU time it used, summed over all threads: the rest was
taken by other work.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.networks.network import (
    Candidates,
    EngineUnavailable,
    Group,
    Network,
    padded_size,
)

# Target duration of the largest batch: nothing can overtake a running batch.
_MAX_BATCH_S = 0.1
# Larger batches have not made any device faster; they only take memory.
_MAX_BATCH_WINDOWS = 1024
# The smallest batch that reaches this fraction of the best rate is chosen: the rest of the speed is not worth the wait.
_SUFFICIENT_RATE_FRACTION = 0.9
# Batch sizes that are compared besides the largest: a single live frame, and a busy server.
_SINGLE_WINDOWS, _BUSY_WINDOWS = 1, 16
# Measurement ends after the time limit, within these numbers of rounds. On two cores, all of it takes about three
# seconds for a small network, and ten seconds for one of a paper's size.
_MIN_ROUNDS, _MAX_ROUNDS = 3, 30
ROUNDS_S = 0.5

# Networks whose products of two times differ by no more than this factor are equally fast.
_TIE = 1.1

# Number of random people whose poses are compared.
_PEOPLE = 4
# Largest mean deviation of the expected errors from the reference's, as a fraction of them. The comparison is coarse:
# the inputs are noise, for which a network may expect an error of metres.
_EXPECTED_ERROR_TOLERANCE = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Throughput:
    """Throughput of a network.

    Attributes:
        windows_per_s: rate by batch size, for 1, 2, 4, 8 ... up to the largest batch to use.
    """

    windows_per_s: dict[int, float]

    @property
    def batch_windows(self) -> int:
        """Most windows to give the network at a time."""
        return max(self.windows_per_s)

    @property
    def rounded(self) -> dict[int, float]:
        """The rates with one decimal."""
        return {windows: round(rate, 1) for windows, rate in self.windows_per_s.items()}

    @property
    def score(self) -> float:
        """Product of the rates of a single live frame, a busy server and the largest batch; higher is better."""
        sizes = (_SINGLE_WINDOWS, min(_BUSY_WINDOWS, self.batch_windows), self.batch_windows)
        return math.prod(self.windows_per_s[windows] for windows in sizes)


@dataclass(frozen=True)
class Choice:
    """The network to serve with, and the measurements behind the choice.

    Attributes:
        batch_windows: most windows to give the network at a time.
        windows_per_s: rate by batch size, for each variant whose poses were close enough to the reference's.
        difference_m: for each variant, the largest difference of any coordinate from the reference's.
    """

    network: Network
    batch_windows: int
    windows_per_s: dict[str, dict[int, float]]
    difference_m: dict[str, float]


def choose(candidates: Candidates, benchmark: "Benchmark") -> Choice:
    """Choose the fastest network whose poses are close enough to those of the reference; all others are closed.

    The network is checked twice: before it is measured, and as it will be used, at its largest batch, too.

    Raises:
        EngineUnavailable: the poses of no candidate are close enough.
    """
    check = _Check(candidates, benchmark)
    groups = [group for group in candidates.groups if check.accepts(group.networks[0], group)]
    ranked = _ranked([(_fastest(group, benchmark, check), group) for group in groups], benchmark)
    for group in candidates.groups:
        for network in group.networks:
            network.close()
    rates = {str(network.variant): throughput.rounded for network, _, throughput in ranked}
    for network, group, throughput in ranked:
        renewed = network.renewed()
        benchmark.warm_all_sizes(renewed, throughput.batch_windows)
        if check.accepts(renewed, group, throughput.batch_windows):
            return Choice(renewed, throughput.batch_windows, rates, check.difference_m)
        renewed.close()
    raise EngineUnavailable(f"The poses of {', '.join(check.difference_m)} cannot be used: they are too far off.")


def _fastest(group: Group, benchmark: "Benchmark", check: "_Check") -> Network:
    """The fastest network of a group, whose first network is right."""
    networks = list(group.networks)
    while (fastest := benchmark.fastest(networks)) is not networks[0] and not check.accepts(fastest, group):
        networks.remove(fastest)
    return fastest


def _ranked(
    networks: Sequence[tuple[Network, Group]], benchmark: "Benchmark"
) -> list[tuple[Network, Group, Throughput]]:
    """Networks and their throughput, the best first."""
    throughputs = benchmark.measure([network for network, _ in networks])
    ranked = [(*both, throughput) for both, throughput in zip(networks, throughputs, strict=True)]
    return sorted(ranked, key=lambda one: one[2].score, reverse=True)


class _Check:
    """Compares the poses of networks with those of the reference, and those of batches with each other.

    Attributes:
        difference_m: for each variant, the largest difference of any coordinate from the reference's so far.
    """

    def __init__(self, candidates: Candidates, benchmark: "Benchmark") -> None:
        self.difference_m: dict[str, float] = {}
        self._reference = candidates.reference.variant
        self._benchmark = benchmark
        windows = benchmark.comparable(candidates.reference_windows)
        # One person more than those of the first check: a recorded network must not answer for those it has seen.
        self._expected = [benchmark.poses(candidates.reference, windows, person) for person in range(_PEOPLE + 1)]

    def accepts(self, network: Network, group: Group, batch_windows: int | None = None) -> bool:
        """Whether poses are close enough to the reference's, and in batches of any size.

        Args:
            batch_windows: the largest batch, for the check of a network as it will be used.
        """
        busy = self._benchmark.comparable(_BUSY_WINDOWS)
        if batch_windows is None:
            return all(self._accepts(network, group, person, (busy,)) for person in range(1, _PEOPLE)) and (
                self._accepts(network, group, 0, (_SINGLE_WINDOWS, busy))
            )
        sizes = {_SINGLE_WINDOWS, min(busy, batch_windows), batch_windows}
        return self._accepts(network, group, _PEOPLE, sorted(sizes))

    def _accepts(self, network: Network, group: Group, person: int, sizes: Sequence[int]) -> bool:
        batches = [self._benchmark.poses(network, windows, person) for windows in sizes]
        expected = self._expected[person]
        finding = self._finding(network, [batch[: len(expected)] for batch in batches], expected, group.tolerance_m)
        for batch in batches if finding is None else ():
            difference_m = _difference_m(batch, batches[-1])
            if not difference_m <= group.batch_tolerance_m:
                finding = f"depend on the size of the batch by up to {difference_m:g} m"
        if finding is not None:
            is_broken = network.variant.precision == self._reference.precision
            level = logging.WARNING if is_broken else logging.INFO
            logger.log(level, "%s is not used: its poses %s", network.variant, finding)
        return finding is None

    def _finding(
        self,
        network: Network,
        batches: Sequence[NDArray[np.float32]],
        expected: NDArray[np.float32],
        tolerance_m: float,
    ) -> str | None:
        """What is wrong with the poses of the first windows of batches, or None."""
        name = str(network.variant)
        for poses in batches:
            difference_m = _difference_m(poses, expected)
            # With the new number first, NaN stays.
            self.difference_m[name] = max(difference_m, self.difference_m.get(name, 0.0))
            error_deviation = _expected_error_deviation(poses, expected[: len(poses)])
            # False if either number is NaN.
            if not (difference_m <= tolerance_m and error_deviation <= _EXPECTED_ERROR_TOLERANCE):
                errors = f"; its expected errors differ by {error_deviation:.0%}" if error_deviation else ""
                return (
                    f"are up to {difference_m:g} m from those of {self._reference}, and may be {tolerance_m:g}{errors}"
                )
        return None


def _difference_m(poses: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Largest difference of any coordinate of the windows that both have."""
    windows = min(len(poses), len(others))
    return float(np.abs(poses[:windows, ..., :3] - others[:windows, ..., :3]).max())


def _expected_error_deviation(poses: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Mean deviation of a network's expected errors, as a fraction of the reference's; 0 if there are none."""
    differences, errors = np.abs(poses - expected)[..., 3:], expected[..., 3:]
    return float(differences.sum() / errors.sum()) if errors.size else 0.0


class Benchmark:
    """Runs networks over example windows and measures the time."""

    def __init__(
        self,
        frame_shape: tuple[int, int],
        receptive_field: int,
        *,
        stride: int,
        has_missing_joints: bool,
        poses_per_window: int = 1,
        lifts_targets: bool = False,
        rounds_s: float = ROUNDS_S,
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Describe the example windows.

        Args:
            frame_shape: joints and coordinates of an input frame.
            stride: frames between two samples of a window.
            has_missing_joints: whether joints are missing in some frames.
            poses_per_window: number of poses with which a network answers a window.
            lifts_targets: whether a network can also answer for targets alone.
            rounds_s: how long networks are compared at each of several sizes, if a few rounds take less.
        """
        self._frame_shape = frame_shape
        self._receptive_field = receptive_field
        self._stride = stride
        self._has_missing_joints = has_missing_joints
        self._poses_per_window = poses_per_window
        self._lifts_targets = lifts_targets
        self._rounds_s = rounds_s
        self._made: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._clock = clock
        self._processor_clock = processor_clock

    @staticmethod
    def of(manifest: Manifest, rounds_s: float = ROUNDS_S) -> "Benchmark":
        """Create a benchmark with windows as an artifact's network takes them."""
        frames = int(manifest.network["frames"])
        return Benchmark(
            manifest.frame_shape,
            frames,
            stride=manifest.temporal_stride,
            has_missing_joints=manifest.missing_joints == "token",
            poses_per_window=frames if manifest.sequence_to_sequence else 1,
            lifts_targets=manifest.lifts_targets,
            rounds_s=rounds_s,
        )

    def windows(self, windows: int, person: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Make frames and index of adjacent windows of a clip of one slightly moving person, like a request's slice.

        They are the first windows of the clip, however many there are. Making them takes as long as some passes.
        """
        if (windows, person) not in self._made:
            self._made[windows, person] = self._make_windows(windows, person)
        return self._made[windows, person]

    def _make_windows(self, windows: int, person: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        noise = np.random.default_rng(person)
        # With a stride, a few windows share hardly any frame, so small batches need more frames per window.
        positions = np.arange(windows)[:, None] + self._stride * np.arange(self._receptive_field)
        used, index = np.unique(positions, return_inverse=True)
        shape = (used[-1] + 1, *self._frame_shape)
        clip = noise.uniform(-0.5, 0.5, shape[1:]) + noise.normal(0, 0.01, shape).cumsum(axis=0)
        if self._has_missing_joints:
            clip[::5, :: self._frame_shape[0] // 2 + 1] = np.nan
        return clip[used].astype(np.float32), index.reshape(positions.shape)

    def comparable(self, windows: int) -> int:
        """Return fewer windows if each of them is answered with many poses."""
        return max(1, windows // self._poses_per_window)

    def poses(self, network: Network, windows: int, person: int) -> NDArray[np.float32]:
        """Lift example windows of a person; those of a small batch are the first ones of a larger batch.

        Returns:
            As `Network.lift`; with the poses of targets alone behind those of whole windows, [W, N + 1, J, D].
        """
        frames, index = self.windows(windows, person)
        poses = network.lift(frames, index)
        if not self._lifts_targets:
            return poses
        targets = network.lift(frames, index, np.arange(windows) % (index.shape[1] // 2 + 1))
        return np.concatenate([poses, targets[:, None]], axis=1)

    def fastest(self, networks: Sequence[Network]) -> Network:
        """Return the fastest of networks that compute the same numbers, for a single window and for a busy server."""
        if len(networks) == 1:
            return networks[0]
        single_s = self._fastest_passes_s(networks, _SINGLE_WINDOWS)
        # Fewer windows if these would take long.
        busy_windows = max(1, min(_BUSY_WINDOWS, int(2 * _MAX_BATCH_S / min(single_s))))
        busy_s = single_s if busy_windows == _SINGLE_WINDOWS else self._fastest_passes_s(networks, busy_windows)
        scores = [single * busy for single, busy in zip(single_s, busy_s, strict=True)]
        # On a tie, recorded graphs: under load, each launch of a kernel may have to wait for Python's lock.
        close = [n for n, score in zip(networks, scores, strict=True) if score <= _TIE * min(scores)]
        return next((n for n in close if n.variant.cuda_graphs), networks[scores.index(min(scores))])

    def measure(self, networks: Sequence[Network]) -> list[Throughput]:
        """Measure the throughput of each network, in batches that double until they take too long."""
        seconds = [{_SINGLE_WINDOWS: math.inf} for _ in networks]
        too_large = [math.inf for _ in networks]
        started, rounds = self._clock(), 0
        while self._should_continue(started, rounds):
            rounds += 1
            for number, (network, by_windows) in enumerate(zip(networks, seconds, strict=True)):
                for windows, fastest_s in by_windows.items():
                    if windows < too_large[number]:
                        by_windows[windows] = min(fastest_s, self._pass_s(network, windows))
                    if by_windows[windows] == math.inf:
                        too_large[number] = windows  # each new try would release all memory, graphs included
                if _can_double(by_windows):
                    by_windows[2 * max(by_windows)] = math.inf
                    rounds = 0
        return [_throughput(by_windows) for by_windows in seconds]

    def warm_all_sizes(self, network: Network, max_windows: int) -> None:
        """Run a network once at each size it will be given, if the first run at a size is slower.

        The largest comes first: smaller ones reuse its memory.
        """
        if network.sizes_per_doubling is not None:
            sizes = {padded_size(n + 1, network.sizes_per_doubling) for n in range(max_windows)}
            for windows in sorted(sizes, reverse=True):
                network.lift(*self.windows(windows))
                if self._lifts_targets:
                    network.lift(*self.windows(windows), np.zeros(windows, np.int64))

    def _fastest_passes_s(self, networks: Sequence[Network], windows: int) -> list[float]:
        """Time of the fastest pass of each network."""
        seconds = [math.inf] * len(networks)
        started, rounds = self._clock(), 0
        while self._should_continue(started, rounds):
            rounds += 1
            for number, network in enumerate(networks):
                seconds[number] = min(seconds[number], self._pass_s(network, windows))
        return seconds

    def _should_continue(self, started: float, rounds: int) -> bool:
        return rounds < _MIN_ROUNDS or (rounds < _MAX_ROUNDS and self._clock() - started < self._rounds_s)

    def _pass_s(self, network: Network, windows: int) -> float:
        frames, index = self.windows(windows)
        started, processor_started = self._clock(), self._processor_clock()
        try:
            network.lift(frames, index)
        except MemoryError:
            if windows == _SINGLE_WINDOWS:
                raise
            return math.inf
        seconds, processor_s = self._clock() - started, self._processor_clock() - processor_started
        return min(seconds, processor_s) if network.variant.device == "cpu" else seconds


def _can_double(seconds_by_windows: dict[int, float]) -> bool:
    """Whether twice the largest batch would still be short enough, extrapolating from the last doubling."""
    largest = max(seconds_by_windows)
    largest_s = seconds_by_windows[largest]
    half_s = seconds_by_windows.get(largest // 2, largest_s)
    return largest < _MAX_BATCH_WINDOWS and largest_s * max(1.0, largest_s / half_s) <= _MAX_BATCH_S


def _throughput(seconds_by_windows: dict[int, float]) -> Throughput:
    rates = {windows: windows / s for windows, s in seconds_by_windows.items() if s <= _MAX_BATCH_S or windows == 1}
    sufficient = _SUFFICIENT_RATE_FRACTION * max(rates.values())
    largest = min(windows for windows, rate in rates.items() if rate >= sufficient)
    return Throughput({windows: rate for windows, rate in rates.items() if windows <= largest})
