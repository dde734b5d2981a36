"""Finds out by measurement which of several networks to serve with, and in batches of how many windows.

The machine may be busy with something else meanwhile, which only ever makes a pass slower. So whatever is compared
takes turns, round after round, and counts with its fastest pass. And a pass never counts with more than the processor's
time for it, all threads one after another: the rest is what others took.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift_service.inference.networks.network import Candidates, EngineUnavailable, Network, padded_size

# A batch lasts at most about this long, because nothing can overtake one that runs.
_BATCH_S = 0.1
# Above this, larger batches have not made any device faster, they only take memory.
_LARGEST_BATCH_WINDOWS = 1024
# The smallest batch within this share of the best rate is taken: the rest of the speed is not worth the wait.
_ENOUGH_OF_BEST_RATE = 0.9
# Batches that are compared, beside the largest: a live frame alone, and a busy server.
_ALONE_WINDOWS, _BUSY_WINDOWS = 1, 16
# Rounds end when there have been a few and their time is over. On two cores the whole takes about three seconds for a
# small network, and ten for one of the papers'.
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 30
_ROUNDS_S = 0.5

# Whose poses are compared.
_PEOPLE = 4
# How far, on average, expected errors may be from those of the reference, as a share of them. They are rough, and what
# is expected of the noise that is compared may be metres.
_SAME_ERRORS = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How fast a network is.

    Attributes:
        windows_per_s: rate by windows in a batch, for 1, 2, 4, 8 ... up to the most that are given at a time.
    """

    windows_per_s: dict[int, float]

    @property
    def batch_windows(self) -> int:
        """Most windows to give at a time."""
        return max(self.windows_per_s)

    @property
    def score(self) -> float:
        """The higher, the better: a live frame alone, a busy server and the largest batch weigh alike."""
        sizes = (_ALONE_WINDOWS, min(_BUSY_WINDOWS, self.batch_windows), self.batch_windows)
        return math.prod(self.windows_per_s[windows] for windows in sizes)


@dataclass(frozen=True)
class Choice:
    """What to serve with, and why.

    Attributes:
        batch_windows: most windows to give it at a time.
        windows_per_s: rates of all that were near enough to the reference, by windows in a batch.
        difference_m: the largest distance of any coordinate to that of the reference.
    """

    network: Network
    batch_windows: int
    windows_per_s: dict[str, dict[int, float]]
    difference_m: dict[str, float]


def choose(candidates: Candidates, trial: "Trial") -> Choice:
    """Take the fastest of the networks whose poses are near enough to those of the reference.

    Raises:
        EngineUnavailable: there is none.
    """
    expected = trial.poses(candidates.reference)
    difference_m: dict[str, float] = {}
    networks = []
    for group in candidates.groups:
        name = str(group.networks[0].form)
        poses = trial.poses(group.networks[0])
        difference_m[name] = float(np.abs(poses[..., :3] - expected[..., :3]).max())
        of_errors = _difference_of_errors(poses, expected)
        # Never, when one of them is not a number.
        if difference_m[name] <= group.within_m and of_errors <= _SAME_ERRORS:
            networks.append(trial.fastest(group.networks))
        else:
            is_broken = group.networks[0].form.precision == candidates.reference.form.precision
            logger.log(
                logging.WARNING if is_broken else logging.INFO,
                "%s is not used: its poses are up to %g m from those of %s, and may be %g%s",
                name,
                difference_m[name],
                candidates.reference.form,
                group.within_m,
                f"; its expected errors differ by {of_errors:.0%}" if of_errors else "",
            )
    if not networks:
        raise EngineUnavailable(f"The poses of {', '.join(difference_m)} cannot be used: they are too far off.")
    paces = trial.paces(networks)
    network, pace = max(zip(networks, paces, strict=True), key=lambda both: both[1].score)
    trial.visit(network, pace.batch_windows)
    rates = {
        str(network.form): {windows: round(rate, 1) for windows, rate in pace.windows_per_s.items()}
        for network, pace in zip(networks, paces, strict=True)
    }
    return Choice(network, pace.batch_windows, rates, difference_m)


def _difference_of_errors(poses: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """By what share the errors that two networks expect differ on average; 0 where they expect none."""
    differences, errors = np.abs(poses - expected)[..., 3:], expected[..., 3:]
    return float(differences.sum() / errors.sum()) if errors.size else 0.0


class Trial:
    """Runs networks over example windows."""

    def __init__(
        self,
        frame_shape: tuple[int, int],
        receptive_field: int,
        *,
        stride: int,
        holes: bool,
        poses_per_window: int = 1,
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Args:
        frame_shape: joints and coordinates of an input frame.
        stride: frames between two of a window.
        holes: whether joints may be missing.
        poses_per_window: that a network answers with.
        """
        self._frame_shape = frame_shape
        self._receptive_field = receptive_field
        self._stride = stride
        self._holes = holes
        self._poses_per_window = poses_per_window
        self._clock = clock
        self._processor_clock = processor_clock

    @staticmethod
    def of(manifest: Manifest) -> "Trial":
        """With windows as an artifact's network takes them."""
        frames = int(manifest.network["frames"])
        return Trial(
            manifest.frame_shape,
            frames,
            stride=manifest.temporal_stride,
            holes=manifest.missing_joints == "token",
            poses_per_window=frames if manifest.sequence_to_sequence else 1,
        )

    def windows(self, windows: int, person: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Windows around frames of a clip of somebody who moves a little, as a slice of a request has them."""
        noise = np.random.default_rng(person)
        # With a stride, a few windows share hardly a frame: the work of a batch grows faster at first than later.
        places = np.arange(windows)[:, None] + self._stride * np.arange(self._receptive_field)
        used, index = np.unique(places, return_inverse=True)
        shape = (len(used), *self._frame_shape)
        frames = noise.uniform(-0.5, 0.5, shape[1:]) + noise.normal(0, 0.01, shape).cumsum(axis=0)
        if self._holes:
            frames[::5, :: self._frame_shape[0] // 2 + 1] = np.nan
        return frames.astype(np.float32), index.reshape(places.shape)

    def poses(self, network: Network) -> NDArray[np.float32]:
        """What a network makes of several people."""
        windows = max(1, _BUSY_WINDOWS // self._poses_per_window)
        return np.concatenate([network.lift(*self.windows(windows, person)) for person in range(_PEOPLE)])

    def fastest(self, networks: Sequence[Network]) -> Network:
        """Choose between networks that give the same numbers, by the same weights as `Pace.score`."""
        if len(networks) == 1:
            return networks[0]
        alone_s = self._seconds(networks, _ALONE_WINDOWS)
        # Fewer where even these would take long.
        busy_windows = max(1, min(_BUSY_WINDOWS, int(2 * _BATCH_S / min(alone_s))))
        busy_s = alone_s if busy_windows == _ALONE_WINDOWS else self._seconds(networks, busy_windows)
        seconds = [alone * busy for alone, busy in zip(alone_s, busy_s, strict=True)]
        return networks[seconds.index(min(seconds))]

    def paces(self, networks: Sequence[Network]) -> list[Pace]:
        """Measure each, in batches that grow until they last too long."""
        seconds = [{_ALONE_WINDOWS: math.inf} for _ in networks]
        started, rounds = self._clock(), 0
        while self._goes_on(started, rounds):
            rounds += 1
            for network, by_windows in zip(networks, seconds, strict=True):
                for windows, fastest_s in by_windows.items():
                    by_windows[windows] = min(fastest_s, self._pass_s(network, windows))
                if _may_grow(by_windows):
                    by_windows[2 * max(by_windows)] = math.inf
                    rounds = 0
        return [_pace(by_windows) for by_windows in seconds]

    def visit(self, network: Network, most_windows: int) -> None:
        """Run a network once at each size that it will be given, if the first time costs more."""
        if network.sizes_per_doubling is not None:
            for windows in sorted({padded_size(n + 1, network.sizes_per_doubling) for n in range(most_windows)}):
                network.lift(*self.windows(windows))

    def _seconds(self, networks: Sequence[Network], windows: int) -> list[float]:
        """The fastest pass of each."""
        seconds = [math.inf] * len(networks)
        started, rounds = self._clock(), 0
        while self._goes_on(started, rounds):
            rounds += 1
            for number, network in enumerate(networks):
                seconds[number] = min(seconds[number], self._pass_s(network, windows))
        return seconds

    def _goes_on(self, started: float, rounds: int) -> bool:
        return rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and self._clock() - started < _ROUNDS_S)

    def _pass_s(self, network: Network, windows: int) -> float:
        frames, index = self.windows(windows)
        started, processor_started = self._clock(), self._processor_clock()
        try:
            network.lift(frames, index)
        except MemoryError:
            if windows == _ALONE_WINDOWS:
                raise
            return math.inf
        seconds, processor_s = self._clock() - started, self._processor_clock() - processor_started
        return min(seconds, processor_s) if network.form.device == "cpu" else seconds


def _may_grow(seconds_by_windows: dict[int, float]) -> bool:
    """Whether twice the largest batch would still be short enough, going by what the last doubling cost."""
    largest = max(seconds_by_windows)
    largest_s = seconds_by_windows[largest]
    half_s = seconds_by_windows.get(largest // 2, largest_s)
    return largest < _LARGEST_BATCH_WINDOWS and largest_s * max(1.0, largest_s / half_s) <= _BATCH_S


def _pace(seconds_by_windows: dict[int, float]) -> Pace:
    rates = {windows: windows / s for windows, s in seconds_by_windows.items() if s <= _BATCH_S or windows == 1}
    enough = _ENOUGH_OF_BEST_RATE * max(rates.values())
    largest = min(windows for windows, rate in rates.items() if rate >= enough)
    return Pace({windows: rate for windows, rate in rates.items() if windows <= largest})
