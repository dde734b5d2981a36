"""What the steps share: how findings are reported, and networks and windows to try."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.networks.autotune import Benchmark
from poselift.networks.cuda_device import CudaDevice, cuda_device
from poselift.networks.network import padded_size
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.torch_cuda import CudaNetwork
from tests.random_artifact import random_artifact
from tests.shipped_model import SHIPPED_MODEL

REPOSITORY = Path(__file__).parents[2]
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
_PAPER = {"channels": 256, "hidden": 512, "layers": 3, "heads": 8, "mask_token": True, "person_centred": True}
_SMALL = {"channels": 16, "hidden": 32, "layers": 1, "heads": 2, "mask_token": True}
# System and network of each lifter, as large as in the papers.
LIFTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pstmo-s-81": ("pstmo", {"frames": 81, **_PAPER}),
    "pstmo-s-243": ("pstmo", {"frames": 243, **_PAPER}),
    "mixste-27": ("mixste", {"frames": 27, "mask_token": True}),
    "completion-27": ("mpm-completion", {"frames": 27, **{k: v for k, v in _PAPER.items() if k != "person_centred"}}),
}


@dataclass(frozen=True)
class Context:
    """Where and how a step runs.

    Attributes:
        device: "cuda"; or "cpu", on which a stand-in takes the GPU's place.
        tiny: whether networks and numbers are as small as possible, to try the steps themselves.
        ends_at: time of `time.monotonic` at which the step should be done.
        emit: takes each finding as a line of JSON.
    """

    step: str
    device: str
    tiny: bool
    ends_at: float
    emit: Callable[[str], None]

    def report(self, name: str, value: object, expected: str = "", *, ok: bool | None = None) -> None:
        """Report one finding.

        Args:
            expected: what the value should be, in words.
            ok: whether it is that; None if there is nothing to compare with.
        """
        value = float(f"{value:.4g}") if isinstance(value, float) else value
        line = {"step": self.step, "name": name, "value": value, "expected": expected, "ok": ok}
        self.emit(json.dumps(line))

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Report a number that must not exceed a limit (or be NaN)."""
        self.report(name, float(value), f"<= {limit:g}", ok=bool(value <= limit))

    @property
    def is_over(self) -> bool:
        """Whether the time of the step is used up."""
        return time.monotonic() >= self.ends_at

    @property
    def gpu(self) -> CudaDevice:
        """The GPU, or its stand-in."""
        return cuda_device() if self.device == "cuda" else _stand_in()

    def synchronize(self) -> None:
        """Wait for all work of the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def sizes(self, *windows: int) -> list[int]:
        """Batch sizes to try."""
        return [size for size in windows if not self.tiny or size <= 4] or [1]

    def lifters(self, *names: str) -> Iterator[tuple[str, Artifact]]:
        """The shipped model, then lifters with random weights."""
        yield "shipped", shipped()
        for name in names:
            yield name, untrained(name, tiny=self.tiny)

    def network(self, artifact: Artifact, precision: str, *, cuda_graphs: bool) -> CudaNetwork:
        """A network on the device."""
        lifter = for_inference(artifact, self.device)
        return CudaNetwork(lifter, artifact.manifest, precision=precision, cuda_graphs=cuda_graphs, gpu=self.gpu)

    def times_s(self, work: Callable[[], object], *, runs: int = 20, warm_up: int = 3) -> float:
        """Median time of a piece of work, seconds."""
        for _ in range(1 if self.tiny else warm_up):
            work()
        self.synchronize()
        taken = []
        for _ in range(2 if self.tiny else runs):
            started = time.perf_counter()
            work()
            self.synchronize()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)


def reference(artifact: Artifact) -> TorchNetwork:
    """The lifter on the CPU."""
    return TorchNetwork(for_inference(artifact, "cpu"), artifact.manifest, threads=torch.get_num_threads())


def windows_of(artifact: Artifact, windows: int, person: int = 0) -> Any:
    """Frames and index of so many windows, rounded up to a size that networks on a GPU are given."""
    return Benchmark.of(artifact.manifest).windows(padded_size(windows, CudaNetwork.sizes_per_doubling), person)


@cache
def shipped() -> Artifact:
    """The shipped model."""
    return load_artifact(SHIPPED_MODEL)


@cache
def untrained(name: str, *, tiny: bool) -> Artifact:
    """A lifter with random weights."""
    system, network = LIFTERS[name]
    small = {"frames": 9, **_SMALL} if tiny else {}
    return random_artifact(system, network | small, name=name)


@cache
def _stand_in() -> CudaDevice:
    from tests.unit.networks.stand_in_gpu import StandInGpu

    return StandInGpu()


@contextmanager
def sync_warnings(context: Context) -> Iterator[list[str]]:
    """Collect what PyTorch says about each wait of the host for the GPU; nothing without one."""
    import warnings

    waits: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if context.device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            if context.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
            waits += [f"{one.filename}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)]
